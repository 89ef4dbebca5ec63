//! Every kind leaves every door as the one table says.

use axum::body::to_bytes;
use tidegate_schemas::problem::Problem;

use super::*;

fn sample(kind: ErrorKind) -> Error {
    Error::new(kind, "what happened and what to do").with_source(std::io::Error::other("why"))
}

#[test]
fn grpc_statuses_follow_the_table() {
    for kind in ErrorKind::ALL {
        let status = status(sample(kind));
        assert_eq!(status.code(), row(kind).grpc);
        assert_eq!(status.message(), "what happened and what to do");
        let back = WireError::from_status(&status);
        assert_eq!((back.kind, back.causes), (kind, vec!["why".to_owned()]));
    }
}

#[tokio::test]
async fn http_replies_follow_the_table() {
    for kind in ErrorKind::ALL {
        let response = HttpError(sample(kind)).into_response();
        assert_eq!(response.status().as_u16(), row(kind).http);
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["kind"], row(kind).name);
        assert_eq!(body["error"]["message"], "what happened and what to do");
        assert_eq!(body["error"]["problems"], serde_json::json!([]));
        assert_eq!(body["error"]["causes"], serde_json::json!(["why"]));
    }
}

#[tokio::test]
async fn problems_travel_on_both_doors() {
    let problem = Problem { file: "a.yaml".into(), line: 3, column: 5, message: "no".into(), ..Problem::default() };
    let back = WireError::from_status(&status(Error::problems(vec![problem.clone()])));
    assert_eq!(back.problems.into_iter().map(convert::problem).collect::<Vec<_>>(), std::slice::from_ref(&problem));
    let response = HttpError(Error::problems(vec![problem])).into_response();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["problems"][0]["line"], 3);
}
