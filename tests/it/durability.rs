//! A database that would lose what was answered is not served from.

use jari::{config::Config, node::Node};
use jari_event_store::{Address, Database, LogError, PoolSettings};
use jari_postgres::{Lifetime, PrivatePostgres};

use crate::{encrypted::Networked, harness, serving::Serving};

/// The setting for which it is refused.
async fn refused(database: &Database) -> String {
    match database.require_durability().await.unwrap_err() {
        LogError::NotDurable { setting, value } => {
            assert_eq!(value, "off");
            setting
        }
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_is_refused_by_the_name_of_its_setting() {
    let sound = harness::database().await;
    sound.require_durability().await.unwrap();
    let server = PrivatePostgres::temporary(false, Lifetime::Owned).await.unwrap();
    let unsafe_one = Database::new(server.access().superuser.clone(), PoolSettings::patient()).unwrap();
    assert_eq!(refused(&unsafe_one).await, "fsync");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_pages_may_be_torn_is_refused_by_the_name_of_its_setting() {
    let server = Networked::start(&["full_page_writes=off"], |_, _| {}).await;
    let database = Database::new(server.url("jari", "127.0.0.1", "").parse::<Address>().unwrap(), PoolSettings::patient()).unwrap();
    assert_eq!(refused(&database).await, "full_page_writes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_from_a_database_that_may_lose_answers_only_when_told_to() {
    let mut config = harness::database().await.config().clone();
    config.options("-c synchronous_commit=off");
    let database = Database::new(config, PoolSettings::patient()).unwrap();
    assert_eq!(refused(&database).await, "synchronous_commit");
    let mut settings = Config::default();
    settings.server.listen = "127.0.0.1:0".parse().unwrap();
    let Err(error) = Node::start(&settings, database.clone()).await else { panic!("it serves") };
    assert!(format!("{error:#}").contains("synchronous_commit"), "{error:#}");
    let shop = Serving::on(database, |config| config.database.allow_unsafe_durability = true).await;
    shop.node.stop().await;
}
