//! Given events of products, then a row a product and one an option.

use jari_domain::{
    ids::{OptionId, ProductId},
    product::{Product, ProductCommand, SaleMode},
};
use serde_json::json;

use crate::tests::{
    given::{rows_after, stream},
    history::{draft, option},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_product_is_one_row_and_each_option_that_was_not_withdrawn_another() {
    let ferry = [
        draft("한강 유람선", SaleMode::Reservation, "Asia/Seoul"),
        ProductCommand::DefineOption(option("day", &["deck"])),
        ProductCommand::DefineOption(option("night", &["deck"])),
        ProductCommand::WithdrawOption(OptionId::parse("day").unwrap()),
        ProductCommand::LaunchProduct,
        ProductCommand::SuspendProduct { reason: "태풍".into() },
    ];
    let rows = rows_after("products", vec![stream::<Product>(&ProductId::parse("ferry").unwrap(), &ferry)]).await;
    assert_eq!(rows.len(), 2);
    assert_eq!([&rows[0]["table"], &rows[0]["product_id"], &rows[0]["option_id"]], [&json!("options"), &json!("ferry"), &json!("night")]);
    let told = ["table", "title", "sale_mode", "status", "suspension_reason"].map(|column| rows[1][column].clone());
    assert_eq!(told, ["products", "한강 유람선", "RESERVATION", "SUSPENDED", "태풍"].map(|text| json!(text)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_product_that_is_sold_again_has_no_reason_of_suspension_left() {
    let commands = [
        draft("Poster", SaleMode::Realtime, "Europe/Paris"),
        ProductCommand::DefineOption(option("one", &["poster"])),
        ProductCommand::LaunchProduct,
        ProductCommand::SuspendProduct { reason: "flood".into() },
        ProductCommand::ResumeProduct,
    ];
    let rows = rows_after("products", vec![stream::<Product>(&ProductId::parse("poster").unwrap(), &commands)]).await;
    assert_eq!([&rows[1]["status"], &rows[1]["suspension_reason"]], [&json!("ON_SALE"), &json!("")]);
}
