//! Backups of plain folders: what is there comes back, what was damaged is found, nothing is written over.

use std::fs;
use std::path::Path;

use super::copy::Target;
use super::*;

/// A backup of a folder with two files.
fn backup(data: &Path, folder: &Path) -> Manifest {
    for (path, content) in [("sealed/p/a.json", "a"), ("sealed/p/spines/x.arrow", "spine"), ("online/FORMAT", "1")] {
        fs::create_dir_all(data.join(path).parent().unwrap()).unwrap();
        fs::write(data.join(path), content).unwrap();
    }
    fs::write(data.join("sealed/p/.half.tmp"), "no").unwrap();
    fs::create_dir_all(folder).unwrap();
    let mut manifest = Manifest::new(7, "0.1.0");
    let target = Target { folder, told: &|_| {} };
    let json = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
    for name in ["sealed", "online", "nothing"] {
        target.bring(data, Path::new(name), json, &mut manifest.files).unwrap();
        target.bring(data, Path::new(name), |path| !json(path), &mut manifest.files).unwrap();
    }
    fs::write(folder.join(MANIFEST), manifest.encode()).unwrap();
    manifest
}

#[test]
fn a_backup_comes_back_as_it_was() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = place.path().join("b");
    let manifest = backup(data.path(), &folder);
    let paths: Vec<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["sealed/p/a.json", "sealed/p/spines/x.arrow", "online/FORMAT"]);
    assert_eq!(check(&folder, &|_| {}).unwrap(), Manifest::decode(&manifest.encode()).unwrap());
    let fresh = place.path().join("fresh");
    let restored = restore(&folder, &fresh, "another", &|_| {}).unwrap();
    assert_eq!(restored.manifest.bytes(), 7);
    assert_eq!(fs::read_to_string(fresh.join("sealed/p/spines/x.arrow")).unwrap(), "spine");
    assert_eq!(fs::read_to_string(fresh.join("online/INSTANCE")).unwrap(), "another\n");
    assert!(!fresh.join(RESTORING).exists());
    let again = restore(&folder, &fresh, "another", &|_| {}).unwrap_err();
    assert!(matches!(again, Error::NotEmpty(_)), "{again}");
}

#[test]
fn damage_is_found_before_it_is_taken_for_whole() {
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let folder = place.path().join("b");
    backup(data.path(), &folder);
    let nothing = check(place.path(), &|_| {}).unwrap_err();
    assert!(matches!(nothing, Error::NoBackup(_)), "{nothing}");
    let spine = folder.join("sealed/p/spines/x.arrow");
    fs::remove_file(&spine).unwrap();
    fs::write(&spine, "spinE").unwrap();
    assert!(check(&folder, &|_| {}).unwrap_err().to_string().contains("x.arrow is not what was backed up"));
    let fresh = place.path().join("fresh");
    assert!(restore(&folder, &fresh, "another", &|_| {}).is_err());
    assert!(fresh.join(RESTORING).exists(), "a server must not start on it");
    fs::remove_file(&spine).unwrap();
    assert!(check(&folder, &|_| {}).unwrap_err().to_string().contains("x.arrow is missing"));
    fs::write(&spine, "spine").unwrap();
    fs::write(folder.join("online/more"), "").unwrap();
    assert!(check(&folder, &|_| {}).unwrap_err().to_string().contains("more is not in its manifest"));
}

#[test]
fn a_manifest_that_was_changed_is_refused() {
    let mut manifest = Manifest::new(7, "0.1.0");
    manifest.files.push(BackedUpFile { path: "../x".to_owned(), bytes: 1, sha256: String::new() });
    let text = String::from_utf8(manifest.encode()).unwrap();
    assert!(Manifest::decode(text.replace("\"created_at\": 7", "\"created_at\": 8").as_bytes()).is_err());
    assert!(Manifest::decode(text.replace("\"backup\": 1", "\"backup\": 2").as_bytes()).is_err());
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join(MANIFEST), text).unwrap();
    let out = check(place.path(), &|_| {}).unwrap_err();
    assert!(out.to_string().contains("leads out of the backup"), "{out}");
}
