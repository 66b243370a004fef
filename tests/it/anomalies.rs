//! What docs/model/concurrency.md says of other models is not only said: its scripts show it on the server of these tests.

use std::{path::Path, process::Stdio};

use tokio::process::Command;
use tokio_postgres::config::Host;

use crate::harness::database;

#[tokio::test]
#[ignore = "long: minutes; needs psql"]
async fn every_anomaly_of_the_conventional_model_happens() {
    let database = database().await;
    let config = database.config();
    let host = match &config.get_hosts()[0] {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/model/anomalies/run.sh");
    let shown = Command::new(script)
        .envs([("PGHOST", &*host), ("PGUSER", config.get_user().unwrap()), ("PGDATABASE", config.get_dbname().unwrap())])
        .env("PGPORT", config.get_ports()[0].to_string())
        .env("PGPASSWORD", String::from_utf8_lossy(config.get_password().unwrap_or_default()).as_ref())
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success() && said.ends_with("All of them happened.\n"), "{said}{complaints}");
    assert_eq!(said.matches("== anomaly_").count(), 7, "{said}");
}
