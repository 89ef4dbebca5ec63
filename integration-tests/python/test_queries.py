"""Sources that are queries, through the real server: what lookups and SQL give equals what pandas computes from the same rows."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
import tidegate
from tidegate.local import LocalServer

START = datetime(2024, 1, 1, tzinfo=timezone.utc)
DEFINITIONS = """
version: 1
project: derived
entities:
  - {name: customer, keys: [{name: customer_id, type: int64}]}
sources:
  - {name: orders, event_time: ordered_at, columns: [{name: amount, type: float64}, {name: currency, type: string}]}
  - {name: rates, event_time: since, columns: [{name: code, type: string}, {name: rate, type: float64}]}
  - name: converted
    event_time: ordered_at
    table:
      query:
        sql: SELECT customer_id, ordered_at, amount * rate AS euros FROM orders JOIN rates ON code = currency
        from: [orders, rates]
  - name: large
    event_time: ordered_at
    table:
      query: {sql: "SELECT customer_id, ordered_at, amount FROM orders WHERE amount >= 50", from: [orders]}
feature_views:
  - {name: of_orders, entities: [customer], source: orders, features: [{name: amount, type: float64}]}
  - {name: last_order, entities: [customer], source: converted, features: [{name: euros, type: float64}]}
  - {name: last_large, entities: [customer], source: large, online: false, features: [{name: amount, type: float64}]}
"""


def orders(first: int, count: int) -> pd.DataFrame:
    rows = range(first, first + count)
    return pd.DataFrame(
        {
            "customer_id": [row % 7 for row in rows],
            # Some are late.
            "ordered_at": [START + timedelta(hours=(row * 37) % 101, minutes=row) for row in rows],
            "amount": [float((row * 29) % 97) for row in rows],
            "currency": [("EUR", "USD")[row % 2] for row in rows],
        }
    )


@pytest.fixture(scope="module")
def derived(server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> tidegate.Client:
    folder: Path = tmp_path_factory.mktemp("derived")
    (folder / "features.yaml").write_text(DEFINITIONS)
    client = server.client("derived")
    client.apply(folder)
    return client


def test_queries_are_computed_as_rows_come(derived: tidegate.Client) -> None:
    with pytest.raises(tidegate.PreconditionError, match="tidegate refresh large"):
        derived.refresh("rates", full=True) or derived.get_historical_features(
            pd.DataFrame({"customer_id": [1], "event_timestamp": [START]}), ["last_large"]
        ).to_pandas()
    rates = pd.DataFrame({"code": ["EUR", "USD"], "rate": [1.0, 0.9], "since": [START, START]})
    derived.ingest("rates", rates)
    seen = pd.DataFrame()
    for round_ in range(3):
        added = orders(round_ * 40, 40)
        derived.ingest("orders", added)
        seen = pd.concat([seen, added])
        derived.materialize(progress=False)
        (large,) = derived.refresh("last_large")
        assert (large.changed, large.full) == (True, round_ == 0)
        assert derived.refresh("large")[0].changed is False

        euros = seen.assign(euros=seen.amount * seen.currency.map({"EUR": 1.0, "USD": 0.9}))
        newest = euros.sort_values("ordered_at").groupby("customer_id").euros.last()
        found = derived.get_online_features({"customer_id": list(newest.index)}, ["last_order:euros"]).to_dict()
        assert found["euros"] == pytest.approx(list(newest))
        (counted,) = derived.sql("SELECT count(*) AS n, sum(amount) AS total FROM sources.large").to_pandas().to_dict("records")
        of_large = seen[seen.amount >= 50]
        assert counted == {"n": len(of_large), "total": pytest.approx(of_large.amount.sum())}


def test_lineage_leads_to_the_columns_of_tables(derived: tidegate.Client) -> None:
    lineage = derived.lineage("last_order")
    columns = [str(place) for place in lineage.columns("euros")]
    assert columns == ["sources.orders.amount", "sources.rates.rate"]
    rows = next(step for step in lineage.steps if step.by == "rows")
    assert sorted(map(str, rows.sources)) == ["sources.orders.currency", "sources.rates.code"]
    with pytest.raises(KeyError, match="no feature"):
        lineage.columns("eurs")
    with pytest.raises(tidegate.NotFoundError, match="last_order"):
        derived.lineage("last_ordr")
