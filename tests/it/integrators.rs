//! The consumers of docs/integrators.md, as an integrator runs them: on a real node that relays to a real Kafka, killed, repeated and left behind; what
//! they say is put beside the log and its views.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jari_proto::{
    operations::v1::{GetStatusRequest, RelayState},
    order::v1::{CancelOrderRequest, ConfirmOrderRequest},
};
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    harness::{database, eventually},
    processes::{Folder, free_address},
    relay::{kafka, prefix},
    serving::{Serving, id, order},
};

const REGISTRY: &str = "io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all";
/// This version takes the one file; later ones want the descriptors of all that it was made of.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.10:copy";
/// Partitions of the topic of orders.
const PARTITIONS: i32 = 12;
const KINDS: [&str; 6] = ["OrderPlaced", "OrderHeld", "OrderRejected", "OrderConfirmed", "OrderCancelled", "OrderExpired"];

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path).canonicalize().unwrap()
}

/// What a program answers within ten minutes: on a new machine much is fetched.
async fn ended(command: &mut Command) -> Output {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let ran = tokio::time::timeout(Duration::from_mins(10), running).await.unwrap_or_else(|_| panic!("{command:?} does not end"));
    ran.unwrap_or_else(|e| panic!("{command:?} cannot be run ({e}): install a JDK of Java 17 or newer, Maven, and Python 3.11 or newer with venv"))
}

/// What a program says on standard output, when it ends well.
async fn run(command: &mut Command) -> String {
    let ran = ended(command).await;
    assert!(ran.status.success(), "{command:?}: {}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

async fn json_of(command: &mut Command) -> Value {
    serde_json::from_str(&run(command).await).unwrap()
}

/// The consumers, built as the document says, in a folder of the test's own.
struct Consumers {
    folder: Folder,
    brokers: String,
    prefix: String,
    server: String,
}

impl Consumers {
    async fn build(shop: &Serving, brokers: &str, prefix: &str) -> Self {
        let built = Self { folder: Folder::new(), brokers: brokers.into(), prefix: prefix.into(), server: shop.node.address.to_string() };
        run(Command::new("cp").arg("-r").arg(tree("examples/integrators/jvm")).arg(built.at("jvm"))).await;
        run(Command::new("mvn").args(["--batch-mode", "--quiet", "--strict-checksums", "compile"]).current_dir(built.at("jvm"))).await;
        run(Command::new("python3").args(["-m", "venv"]).arg(built.at("venv"))).await;
        let mut install = Command::new(built.at("venv/bin/pip"));
        install.args(["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"]);
        run(install.arg(tree("examples/integrators/python/requirements.txt"))).await;
        let (proto, classes) = (tree("proto"), built.at("classes"));
        fs::create_dir(&classes).unwrap();
        let files = run(Command::new("find").arg(&proto).args(["-name", "*.proto"])).await;
        let mut generate = Command::new(built.at("venv/bin/python"));
        generate.args(["-m", "grpc_tools.protoc"]).args(
            [("proto_path", &proto), ("python_out", &classes), ("grpc_python_out", &classes)]
                .map(|(option, folder)| format!("--{option}={}", folder.display())),
        );
        run(generate.args(files.lines())).await;
        built
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    fn java(&self, class: &str, words: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-cp", "target/classes:target/lib/*", class, &self.brokers]).args(words).args(["--prefix", &self.prefix]);
        command.current_dir(self.at("jvm"));
        command
    }

    fn python(&self, script: &str) -> Command {
        let mut command = Command::new(self.at("venv/bin/python"));
        command.arg(tree(&format!("examples/integrators/python/{script}"))).env("PYTHONPATH", self.at("classes"));
        // the classes are made once and the scripts stand in the tree: nothing is left beside them
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// The ledger on the JVM, with its group.
    fn on_the_jvm(&self, ledger: &str) -> Command {
        let group = format!("{}{ledger}", self.prefix);
        self.java("FollowOrders", &[&group, self.at(ledger).to_str().unwrap()])
    }

    /// The one in Python, that begins in the history.
    fn in_python(&self, ledger: &str) -> Command {
        let mut command = self.python("follow_orders.py");
        command.args([&self.brokers, &self.server]).arg(self.at(ledger)).args(["--prefix", &self.prefix]);
        command
    }

    /// What SQL says of a ledger; nothing before it has its tables.
    async fn asked(&self, ledger: &str, query: &str) -> i64 {
        let ask = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchone()[0])";
        let asked = ended(Command::new(self.at("venv/bin/python")).args(["-c", ask]).arg(self.at(ledger)).arg(query)).await;
        String::from_utf8(asked.stdout).unwrap().trim().parse().unwrap_or(0)
    }

    fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Every partition of the topic of orders, at an offset.
    fn orders_at(&self, offset: Offset) -> TopicPartitionList {
        let mut places = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            places.add_partition_offset(&self.topic("reservation.order.v1"), partition, offset).unwrap();
        }
        places
    }

    /// Deletes every record that the topic of orders has, as retention does after its days.
    async fn retention_passes(&self) {
        let client: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &self.brokers).create().unwrap();
        client.delete_records(&self.orders_at(Offset::End), &AdminOptions::new()).await.unwrap();
    }

    /// Takes the commits of a ledger's group back to the beginning: what a crash between work and commit leaves, at its worst.
    async fn forget_commits(&self, ledger: &str) {
        let (group, places) = (format!("{}{ledger}", self.prefix), self.orders_at(Offset::Offset(0)));
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &self.brokers).set("group.id", group).create().unwrap();
        // refused while the group has a member
        eventually("the group is empty", || async { client.commit(&places, CommitMode::Sync).is_ok() }).await;
    }
}

/// Customers who buy, at one thousand won a piece, give back, cancel, and are refused, until `closing`; what was earned.
async fn customers(shop: &Serving, closing: Arc<AtomicBool>) -> i64 {
    let (mut orders, mut earned) = (shop.orders(), 0);
    for n in 0_u32.. {
        if closing.load(Ordering::SeqCst) {
            break;
        }
        let quantity = i32::try_from(n % 3 + 1).unwrap();
        let product = if n % 7 == 0 { "sold-out" } else { "poster" };
        let placed = orders.place_order(order(&[(product, quantity)])).await.unwrap().into_inner().order.unwrap();
        let confirm = ConfirmOrderRequest { request_id: id(), order_id: placed.order_id.clone() };
        let cancel = CancelOrderRequest { request_id: id(), order_id: placed.order_id, reason: "rain".into() };
        if product != "poster" {
            continue;
        }
        if n % 4 != 0 {
            orders.confirm_order(confirm).await.unwrap();
            earned += 1_000 * i64::from(quantity);
        }
        if n % 4 == 0 || n % 11 == 0 {
            orders.cancel_order(cancel).await.unwrap();
            earned -= if n % 4 == 0 { 0 } else { 1_000 * i64::from(quantity) };
        }
    }
    earned
}

/// Orders that nobody comes back to: they lapse after half a minute, the shortest hold that there is.
async fn forgotten(shop: &Serving) {
    for _ in 0..5 {
        shop.orders().place_order(order(&[("mug", 1)])).await.unwrap();
    }
}

async fn until_lapsed(shop: &Serving, orders: usize) {
    let lapsed = async || shop.log().await.iter().filter(|event| event.event_type == "OrderExpired").count();
    eventually("what was forgotten lapses", async || lapsed().await == orders).await;
}

/// Lets customers buy for as long as `meanwhile` takes, and until all of it is relayed.
async fn open(shop: &Serving, earned: &mut i64, meanwhile: impl Future<Output = ()>) {
    let closing = Arc::new(AtomicBool::new(false));
    let (more, ()) = tokio::join!(customers(shop, closing.clone()), async {
        meanwhile.await;
        closing.store(true, Ordering::SeqCst);
    });
    *earned += more;
    eventually("everything is relayed", || async {
        let status = shop.operations().get_status(GetStatusRequest::default()).await.unwrap().into_inner();
        let (relay, log) = (status.relay.unwrap(), status.log.unwrap());
        relay.state() == RelayState::Running && relay.position == log.head_position
    })
    .await;
}

/// What a ledger has to say: how many events happened to orders, what happened to each last, and what was earned.
async fn in_the_log(shop: &Serving, earned: i64) -> (Value, Value, Value) {
    let (mut events, mut last) = (0, BTreeMap::new());
    for event in shop.log().await.iter().filter(|event| KINDS.contains(&&*event.event_type)) {
        events += 1;
        last.insert(event.aggregate_id.clone(), event.event_type.clone());
    }
    let mut orders = BTreeMap::<String, u32>::new();
    for kind in last.into_values() {
        *orders.entry(format!("reservation.order.v1.{kind}")).or_default() += 1;
    }
    (json!(events), json!(orders), json!({ "KRW": earned }))
}

/// Runs a follower again and again while customers buy, and kills it each time when it has taken in some more.
async fn killed_in_the_middle(follow: impl Fn() -> Command, taken: impl AsyncFn() -> i64) {
    for _ in 0..3 {
        let before = taken().await;
        let mut follower: Child = follow().stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        eventually("it takes events in", || async { taken().await > before + 20 }).await;
        follower.kill().await.unwrap();
    }
}

async fn a_ledger_is_the_same_after_kills_and_repeats(shop: &Serving, earned: &mut i64, consumers: &Consumers) {
    let entries = async || consumers.asked("jvm.db", "SELECT count(*) FROM entries").await;
    forgotten(shop).await;
    open(shop, earned, async {
        killed_in_the_middle(|| consumers.on_the_jvm("jvm.db"), entries).await;
        until_lapsed(shop, 5).await;
    })
    .await;
    let (events, orders, takings) = in_the_log(shop, *earned).await;
    let ledger = json_of(consumers.on_the_jvm("jvm.db").arg("--once")).await;
    assert_eq!((&ledger["entries"], &ledger["orders"], &ledger["takings"]), (&events, &orders, &takings), "killed three times");
    consumers.forget_commits("jvm.db").await;
    let repeated = json_of(consumers.on_the_jvm("jvm.db").arg("--once")).await;
    assert_eq!(repeated["repeats"], events, "everything came again");
    assert_eq!((&repeated["entries"], &repeated["orders"], &repeated["takings"]), (&events, &orders, &takings), "and changed nothing");
}

async fn a_follower_misses_nothing_whatever_the_topic_has_lost(shop: &Serving, earned: &mut i64, consumers: &Consumers) {
    let taken = async || consumers.asked("left-behind.db", "SELECT coalesce(sum(version), 0) FROM orders").await;
    let follow = async |ledger: &str, expected: (Value, Value, Value)| {
        let told = json_of(consumers.in_python(ledger).arg("--once")).await;
        assert_eq!((&told["events"], &told["orders"], &told["takings"]), (&expected.0, &expected.1, &expected.2), "{ledger}: {told}");
        told["read"].clone()
    };
    // killed in the history; and handed over from there to the topic while orders come
    let begun = ["begun.db", "begun-again.db", "left-behind.db"];
    open(shop, earned, async {
        killed_in_the_middle(|| consumers.in_python("left-behind.db"), taken).await;
        for ledger in begun {
            run(consumers.in_python(ledger).arg("--once")).await;
        }
    })
    .await;
    for ledger in begun {
        follow(ledger, in_the_log(shop, *earned).await).await;
    }
    open(shop, earned, killed_in_the_middle(|| consumers.in_python("left-behind.db"), taken)).await;
    let read = follow("left-behind.db", in_the_log(shop, *earned).await).await;
    assert_eq!(read["history"], 0, "its place is in the topic: {read}");

    // orders that are under way when all that the topic has is deleted, and go on after that
    open(shop, earned, tokio::time::sleep(Duration::from_secs(1))).await;
    let under_way = shop.orders().place_order(order(&[("poster", 1)])).await.unwrap().into_inner().order.unwrap().order_id;
    forgotten(shop).await;
    open(shop, earned, async {}).await;
    consumers.retention_passes().await;
    shop.orders().confirm_order(ConfirmOrderRequest { request_id: id(), order_id: under_way }).await.unwrap();
    *earned += 1_000;
    open(shop, earned, until_lapsed(shop, 10)).await;

    let expected = in_the_log(shop, *earned).await;
    let read = follow("left-behind.db", expected.clone()).await;
    assert!(read["history"].as_u64() > Some(0), "what the topic had lost came from the history: {read}");
    let read = follow("new.db", expected.clone()).await;
    assert_eq!(read["history"], expected.0, "a new one reads all of it there, {read}");
    open(shop, earned, tokio::time::sleep(Duration::from_secs(1))).await;
    let read = follow("new.db", in_the_log(shop, *earned).await).await;
    assert!(read["topic"].as_u64() > Some(0) && read["history"] == 0, "and goes on in the topic: {read}");

    let refused = ended(consumers.on_the_jvm("begun-late.db").arg("--once")).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("came without what was before it: begin in the history"), "a gap is told: {said}");
}

async fn a_cache_says_what_the_view_says(shop: &Serving, earned: &mut i64, consumers: &Consumers) {
    let head = i64::try_from(shop.log().await.len()).unwrap();
    let told = run(consumers.java("AvailabilityCache", &[]).arg("--once")).await;
    let slots: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: BTreeSet<&str> = slots.iter().map(|slot| slot["slotId"].as_str().unwrap()).collect();
    assert_eq!(ids, BTreeSet::from(["mug@stock", "poster@stock", "sold-out@stock"]));
    for slot in &slots {
        let (state, capacity, held, confirmed) = shop.slot(slot["slotId"].as_str().unwrap(), head).await;
        let counts = json!({ "capacity": capacity, "held": held, "confirmed": confirmed, "available": capacity - held - confirmed });
        assert_eq!((slot["saleState"].as_str().unwrap(), &slot["counts"]), (state.as_str_name(), &counts), "the cache, the view");
        assert_eq!(slot["bookable"], counts["available"]);
    }
    let said = consumers.at("cache.jsonl");
    let mut following: Child = consumers.java("AvailabilityCache", &[]).stdout(fs::File::create(&said).unwrap()).kill_on_drop(true).spawn().unwrap();
    let lines = || fs::read_to_string(&said).unwrap().lines().count();
    eventually("the cache is whole", || async { lines() >= slots.len() }).await;
    open(shop, earned, async { eventually("changes come to it", || async { lines() > slots.len() + 5 }).await }).await;
    following.kill().await.unwrap();
}

async fn records_name_schemas_that_a_registry_has(consumers: &Consumers) {
    let (folder, address) = (consumers.at("registry"), free_address());
    fs::create_dir(&folder).unwrap();
    let mut fetch = Command::new("mvn");
    fetch.args(["--batch-mode", "--quiet", "--strict-checksums", COPY]).arg(format!("-Dartifact={REGISTRY}")).arg("-DoutputDirectory=.");
    run(fetch.current_dir(&folder)).await;
    run(Command::new("tar").args(["xzf", "apicurio-registry-app-3.0.9-all.tar.gz"]).current_dir(&folder)).await;
    let (host, port) = address.split_once(':').unwrap();
    let log = fs::File::create(consumers.at("registry.log")).unwrap();
    let mut serve = Command::new("java");
    serve.args(["-Xmx512m", "-jar", "apicurio-registry-app-3.0.9-runner.jar"]).current_dir(&folder);
    serve.env("QUARKUS_HTTP_HOST", host).env("QUARKUS_HTTP_PORT", port).stdout(log.try_clone().unwrap()).stderr(log);
    let mut registry: Child = serve.kill_on_drop(true).spawn().unwrap();
    eventually("the registry serves", || async { tokio::net::TcpStream::connect(&address).await.is_ok() }).await;

    let url = format!("http://{address}/apis/ccompat/v7");
    let register = |folders: &[PathBuf]| {
        let mut register = consumers.python("schemas.py");
        register.args(["register", &url]).args(folders);
        register
    };
    let (old, new) = (tree("infra/contract/published/v1.0/schemas"), tree("infra/contract/published/v1/schemas"));
    let registered = json_of(&mut register(&[old.clone(), new.clone()])).await;
    assert_eq!(registered.as_object().unwrap().len(), fs::read_dir(&new).unwrap().count(), "a subject for each type");
    assert_eq!(registered["reservation.order.v1.OrderPlaced"], json!([1, 2]), "both versions of what has two");
    assert_eq!(json_of(&mut register(&[old, new.clone()])).await, registered, "what is there stays as it is");

    let checked = json_of(consumers.python("schemas.py").args(["check", &url, &consumers.brokers, "--prefix", &consumers.prefix])).await;
    for kind in ["order.v1.OrderPlaced:1.1", "order.v1.OrderHeld:1.0", "inventory.v1.UnitsHeld:1.0", "availability.v1.AvailabilityChanged:1.0"] {
        assert!(checked[format!("urn:jari:schema:reservation.{kind}")].as_u64() > Some(0), "{kind}: {checked}");
    }

    let broken = consumers.at("broken");
    fs::create_dir(&broken).unwrap();
    let text = fs::read_to_string(new.join("reservation.order.v1.OrderHeld.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    schema["properties"]["orderId"]["type"] = "integer".into();
    fs::write(broken.join("reservation.order.v1.OrderHeld.json"), schema.to_string()).unwrap();
    let refused = ended(&mut register(&[broken])).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("SUBSCHEMA_TYPE_CHANGED"), "a change that would break consumers: {said}");
    registry.kill().await.unwrap();
}

/// Every schema within a schema, itself included.
fn schemas_within(schema: &Value) -> Vec<&serde_json::Map<String, Value>> {
    let Some(itself) = schema.as_object() else { return vec![] };
    let named = ["properties", "$defs"].into_iter().filter_map(|key| itself.get(key)?.as_object()).flat_map(|map| map.values());
    let listed = itself.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let within = named.chain(listed).chain(["items", "additionalProperties"].into_iter().filter_map(|key| itself.get(key)));
    std::iter::once(itself).chain(within.flat_map(schemas_within)).collect()
}

#[test]
fn schemas_mean_the_same_in_draft_seven_as_they_are_registered() {
    let known = "$schema $id $defs $ref title description type properties required items additionalProperties oneOf const default format pattern \
        minimum minItems maxItems maxLength";
    let known: BTreeSet<&str> = known.split_whitespace().collect();
    for version in ["v1.0", "v1"] {
        for entry in fs::read_dir(tree(&format!("infra/contract/published/{version}/schemas"))).unwrap() {
            let path = entry.unwrap().path();
            let schema: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            for within in schemas_within(&schema) {
                let words: BTreeSet<&str> = within.keys().map(String::as_str).collect();
                assert!(
                    words.is_subset(&known),
                    "{}: draft 7 may read {words:?} otherwise: see examples/integrators/python/schemas.py",
                    path.display()
                );
                let beside = words.contains("$ref") && !words.is_subset(&BTreeSet::from(["$ref", "description"]));
                assert!(!beside, "{}: draft 7 reads nothing beside a $ref: {words:?}", path.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: needs Java, Maven and Python"]
async fn consumers_on_the_jvm_and_in_python_say_what_the_log_says() {
    let (brokers, prefix) = (kafka().await, prefix());
    let mut shop = Serving::on(database().await, |config| {
        config.kafka.topic_prefix.clone_from(&prefix);
        config.relay.lease_ms = 1_000;
    })
    .await;
    shop.node.relay_to(&brokers);
    shop.on_sale("poster", 1_000_000).await;
    shop.on_sale("sold-out", 0).await;
    shop.draft_with("mug", |draft| draft.hold_seconds = 30).await;
    shop.launched("mug", 1_000_000).await;
    let (consumers, mut earned) = (Consumers::build(&shop, &brokers, &prefix).await, 0);
    a_ledger_is_the_same_after_kills_and_repeats(&shop, &mut earned, &consumers).await;
    a_cache_says_what_the_view_says(&shop, &mut earned, &consumers).await;
    records_name_schemas_that_a_registry_has(&consumers).await;
    a_follower_misses_nothing_whatever_the_topic_has_lost(&shop, &mut earned, &consumers).await;
    shop.node.stop().await;
}
