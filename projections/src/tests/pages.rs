//! Lists, page by page.

use jari_domain::{
    ids::{CustomerRef, OrderId, PoolId, SlotId},
    order::{Order, OrderCommand},
    product::{Product, SaleMode},
};
use jari_proto::{
    order::v1::{ListOrdersRequest, ListOrdersResponse, order_query_service_server::OrderQueryService},
    product::v1::{ListProductsRequest, ProductState, product_query_service_server::ProductQueryService},
};
use jiff::Timestamp;
use tonic::{Code, Request, Status};

use super::{
    history::{draft, first, line, option},
    place::{Node, Pencil, database, refused, settings},
};
use jari_domain::product::ProductCommand;

async fn place(pencil: &mut Pencil, order: &str, customer: &str) {
    let slot = SlotId::of(&PoolId::parse("gallery").unwrap(), None);
    let command = OrderCommand::PlaceOrder {
        customer: CustomerRef::parse(customer).unwrap(),
        lines: vec![line(&[&slot], 1)],
        hold_seconds: 60,
        personal: None,
    };
    pencil.say(&OrderId::parse(order).unwrap(), first::<Order>(&[command], Timestamp::now())).await;
}

async fn list(node: &Node, customer: &str, page_size: i32, page_token: &str) -> Result<ListOrdersResponse, Status> {
    let asked = ListOrdersRequest { customer: customer.into(), page_size, page_token: page_token.into(), min_position: 0 };
    Ok(node.orders.list_orders(Request::new(asked)).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_orders_neither_repeat_nor_skip_while_new_ones_come() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    for n in 0..23 {
        place(&mut pencil, &format!("kim-{n:02}"), "kim").await;
        place(&mut pencil, &format!("lee-{n:02}"), "lee").await;
    }
    node.caught_up().await;
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let page = list(&node, "kim", 5, &token).await.unwrap();
        seen.extend(page.orders.into_iter().map(|order| order.order_id));
        pages += 1;
        // newer orders come before the first page, not into the rest
        place(&mut pencil, &format!("kim-new-{pages}"), "kim").await;
        node.caught_up().await;
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let newest_first: Vec<_> = (0..23).rev().map(|n| format!("kim-{n:02}")).collect();
    assert_eq!((seen, pages), (newest_first, 5));
    assert_eq!(list(&node, "nobody", 0, "").await.unwrap().orders.len(), 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn page_tokens_of_others_and_page_sizes_out_of_bounds_are_refused() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    for n in 0..3 {
        place(&mut pencil, &format!("kim-{n}"), "kim").await;
    }
    node.caught_up().await;
    let token = list(&node, "kim", 1, "").await.unwrap().next_page_token;
    let invalid = |code: &str| (Code::InvalidArgument, code.to_owned());
    assert_eq!(refused(list(&node, "lee", 1, &token).await), invalid("PAGE_TOKEN_INVALID"));
    assert_eq!(refused(list(&node, "kim", 1, "nonsense").await), invalid("PAGE_TOKEN_INVALID"));
    let products = ListProductsRequest { page_token: token, ..Default::default() };
    assert_eq!(refused(node.products.list_products(Request::new(products)).await), invalid("PAGE_TOKEN_INVALID"));
    assert_eq!(refused(list(&node, "kim", -1, "").await), invalid("PAGE_SIZE_INVALID"));
    assert_eq!(refused(list(&node, "kim", 1_001, "").await), invalid("PAGE_SIZE_INVALID"));
    assert_eq!(refused(list(&node, "", 1, "").await), invalid("ID_INVALID"));
    let asked = ListProductsRequest { state: 77, ..Default::default() };
    assert_eq!(refused(node.products.list_products(Request::new(asked)).await), invalid("ENUM_INVALID"));
    let asked = ListOrdersRequest { customer: "kim".into(), min_position: -1, ..Default::default() };
    assert_eq!(refused(node.orders.list_orders(Request::new(asked)).await), invalid("MIN_POSITION_INVALID"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn products_are_listed_by_id_and_by_state() {
    let database = database().await;
    let node = Node::start(&database, "one", settings()).await;
    let mut pencil = Pencil::new(&database).await;
    for n in 0..7 {
        let mut commands = vec![draft("미술관", SaleMode::Reservation, "Asia/Seoul"), ProductCommand::DefineOption(option("entry", &["gallery"]))];
        if n % 2 == 0 {
            commands.push(ProductCommand::LaunchProduct);
        }
        pencil.say(&jari_domain::ids::ProductId::parse(&format!("p{n}")).unwrap(), first::<Product>(&commands, Timestamp::now())).await;
    }
    node.caught_up().await;
    let ask = |state: ProductState, page_token: String| {
        let asked = ListProductsRequest { page_size: 3, page_token, state: state.into(), min_position: 0 };
        node.products.list_products(Request::new(asked))
    };
    let page = ask(ProductState::OnSale, String::new()).await.unwrap().into_inner();
    let ids = |page: &jari_proto::product::v1::ListProductsResponse| page.products.iter().map(|p| p.product_id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&page), ["p0", "p2", "p4"]);
    assert_eq!(page.products[0].options[0].units[0].price.as_ref().unwrap().minor_units, 12_000);
    let next = ask(ProductState::OnSale, page.next_page_token.clone()).await.unwrap().into_inner();
    assert_eq!((ids(&next), next.next_page_token.as_str()), (vec!["p6".to_owned()], ""));
    assert_eq!(refused(ask(ProductState::Draft, page.next_page_token).await).1, "PAGE_TOKEN_INVALID");
    let all = ask(ProductState::Unspecified, String::new()).await.unwrap().into_inner();
    assert_eq!(ids(&all), ["p0", "p1", "p2"]);

    // p4 cannot be read on: pages that end before it are whole, and those that reach it say so
    pencil.scrawl(&jari_domain::ids::ProductId::parse("p4").unwrap(), "ProductPainted", "{}").await;
    node.caught_up().await;
    assert_eq!(ids(ask(ProductState::Unspecified, String::new()).await.unwrap().get_ref()), ["p0", "p1", "p2"]);
    let reached = ask(ProductState::Unspecified, all.next_page_token).await;
    assert_eq!(refused(reached), (Code::FailedPrecondition, "VIEW_STREAM_QUARANTINED".into()));
    node.stop().await;
}
