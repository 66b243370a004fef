//! `ProductService`: drafts, options, the way on sale and off it.

use std::sync::Arc;

use jari_domain::{
    Currency, Refuse,
    ids::{OptionId, PoolId, ProductId, UnitId},
    product::{Draw, MAX_DRAWS, MAX_UNITS, Product, ProductCommand, ProductError, ProductOption, SaleMode, Unit},
};
use jari_proto::product::v1::{self as pb, product_service_server::ProductService};
use jiff::tz::TimeZone;
use prost::Message;
use tonic::{Request, Response, Status, metadata::MetadataMap};
use uuid::Uuid;

use super::{WriteContext, wire::Violations};
use crate::booking::OneStream;

/// The service.
#[derive(Debug)]
pub struct ProductCommands(pub(super) Arc<WriteContext>);

impl ProductCommands {
    async fn run(
        &self,
        metadata: &MetadataMap,
        name: &'static str,
        id: Uuid,
        canonical: &impl Message,
        product: ProductId,
        command: ProductCommand,
    ) -> Result<i64, Status> {
        self.0.position(metadata, id, canonical, OneStream::<Product>::on(name, &product, command)).await
    }
}

/// A command that names nothing but its product.
macro_rules! plain {
    ($self:ident, $request:ident, $name:literal, $command:expr, $response:ident) => {{
        let (metadata, _, mut request) = $request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let product = violations.id("product_id", &request.product_id, ProductId::parse);
        let (id, product) = violations.finish(id, product)?;
        let position = $self.run(&metadata, $name, id, &request, product, $command).await?;
        Ok(Response::new(pb::$response { position }))
    }};
}

#[async_trait::async_trait]
impl ProductService for ProductCommands {
    async fn create_product(&self, request: Request<pb::CreateProductRequest>) -> Result<Response<pb::CreateProductResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let product = violations.id("product_id", &request.product_id, ProductId::parse);
        let currency = Currency::parse(&request.currency).map_err(|error| violations.add("currency", error)).ok();
        let sale_mode = match request.sale_mode() {
            pb::SaleMode::Reservation => Some(SaleMode::Reservation),
            pb::SaleMode::Realtime => Some(SaleMode::Realtime),
            pb::SaleMode::Unspecified => {
                violations.add("sale_mode", "must be SALE_MODE_RESERVATION or SALE_MODE_REALTIME");
                None
            }
        };
        let hold_seconds = violations.number("hold_seconds", request.hold_seconds, 0);
        let cut_off_seconds = violations.number("cut_off_seconds", request.cut_off_seconds, 0);
        let taken = product.zip(currency).zip(sale_mode).zip(hold_seconds).zip(cut_off_seconds);
        let (id, ((((product, currency), sale_mode), hold_seconds), cut_off_seconds)) = violations.finish(id, taken)?;
        // the decision looks at the name's shape only; a zone that nobody knows would leave the product without a day for good
        if TimeZone::get(&request.time_zone).is_err() {
            return Err(self.0.refused(&ProductError::TimeZoneInvalid.to_refusal()));
        }
        let (title, time_zone) = (request.title.clone(), request.time_zone.clone());
        let command = ProductCommand::DraftProduct { title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds };
        let position = self.run(&metadata, "draft_product", id, &request, product, command).await?;
        Ok(Response::new(pb::CreateProductResponse { position }))
    }

    async fn define_option(&self, request: Request<pb::DefineOptionRequest>) -> Result<Response<pb::DefineOptionResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let product = violations.id("product_id", &request.product_id, ProductId::parse);
        let option = option(request.option.as_ref(), &mut violations);
        let (id, (product, option)) = violations.finish(id, product.zip(option))?;
        let position = self.run(&metadata, "define_option", id, &request, product, ProductCommand::DefineOption(option)).await?;
        Ok(Response::new(pb::DefineOptionResponse { position }))
    }

    async fn withdraw_option(&self, request: Request<pb::WithdrawOptionRequest>) -> Result<Response<pb::WithdrawOptionResponse>, Status> {
        let (metadata, _, mut request) = request.into_parts();
        let mut violations = Violations::default();
        let id = violations.request_id(&mut request.request_id);
        let product = violations.id("product_id", &request.product_id, ProductId::parse);
        let option = violations.id("option_id", &request.option_id, OptionId::parse);
        let (id, (product, option)) = violations.finish(id, product.zip(option))?;
        let position = self.run(&metadata, "withdraw_option", id, &request, product, ProductCommand::WithdrawOption(option)).await?;
        Ok(Response::new(pb::WithdrawOptionResponse { position }))
    }

    async fn launch_product(&self, request: Request<pb::LaunchProductRequest>) -> Result<Response<pb::LaunchProductResponse>, Status> {
        plain!(self, request, "launch_product", ProductCommand::LaunchProduct, LaunchProductResponse)
    }

    async fn suspend_product(&self, request: Request<pb::SuspendProductRequest>) -> Result<Response<pb::SuspendProductResponse>, Status> {
        let reason = request.get_ref().reason.clone();
        plain!(self, request, "suspend_product", ProductCommand::SuspendProduct { reason }, SuspendProductResponse)
    }

    async fn resume_product(&self, request: Request<pb::ResumeProductRequest>) -> Result<Response<pb::ResumeProductResponse>, Status> {
        plain!(self, request, "resume_product", ProductCommand::ResumeProduct, ResumeProductResponse)
    }

    async fn end_product(&self, request: Request<pb::EndProductRequest>) -> Result<Response<pb::EndProductResponse>, Status> {
        plain!(self, request, "end_product", ProductCommand::EndProduct, EndProductResponse)
    }
}

fn option(option: Option<&pb::Option>, violations: &mut Violations) -> Option<ProductOption> {
    let Some(option) = option else {
        violations.add("option", "is required");
        return None;
    };
    if option.units.len() > MAX_UNITS {
        violations.add("option.units", format!("at most {MAX_UNITS}, not {}", option.units.len()));
    }
    if option.draws.len() > MAX_DRAWS {
        violations.add("option.draws", format!("at most {MAX_DRAWS}, not {}", option.draws.len()));
    }
    let option_id = violations.id("option.option_id", &option.option_id, OptionId::parse);
    let unit = |(n, unit): (usize, &pb::Unit)| {
        let unit_id = violations.id(format!("option.units[{n}].unit_id"), &unit.unit_id, UnitId::parse);
        let price = violations.money(format!("option.units[{n}].price"), unit.price.as_ref());
        let heads = violations.number(format!("option.units[{n}].heads"), unit.heads, 1);
        Some(Unit { unit_id: unit_id?, title: unit.title.clone(), price: price?, heads: heads? })
    };
    let units: Vec<Option<Unit>> = option.units.iter().take(MAX_UNITS).enumerate().map(unit).collect();
    let draw = |(n, draw): (usize, &pb::Draw)| {
        let pool_id = violations.id(format!("option.draws[{n}].pool_id"), &draw.pool_id, PoolId::parse);
        let per_head = violations.number(format!("option.draws[{n}].per_head"), draw.per_head, 1);
        Some(Draw { pool_id: pool_id?, per_head: per_head? })
    };
    let draws: Vec<Option<Draw>> = option.draws.iter().take(MAX_DRAWS).enumerate().map(draw).collect();
    let (units, draws) = (units.into_iter().collect::<Option<_>>(), draws.into_iter().collect::<Option<_>>());
    Some(ProductOption { option_id: option_id?, title: option.title.clone(), units: units?, draws: draws? })
}
