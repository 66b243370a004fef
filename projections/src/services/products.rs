//! `ProductQueryService`.

use jari_domain::{
    Decider,
    ids::ProductId,
    product::{Product, ProductError, ProductOption, ProductStatus, SaleMode},
};
use jari_proto::product::v1::{
    self as wire, GetProductRequest, GetProductResponse, ListProductsRequest, ListProductsResponse, ProductState,
    product_query_service_server::ProductQueryService,
};
use jari_wire::product::{option, sale_mode, state};
use tonic::{Request, Response, Status};

use super::{USUAL_ROWS, known};
use crate::{
    paging,
    reading::Fields,
    refusal::QueryError,
    runner::Views,
    views::products::{GET_PRODUCT, LIST_PRODUCTS, Products},
};

/// Answers from the view `products`.
#[derive(Debug, Clone)]
pub struct ProductQueries {
    views: Views,
}

impl ProductQueries {
    /// Answers from `views`.
    #[must_use]
    pub fn new(views: Views) -> Self {
        Self { views }
    }
}

#[tonic::async_trait]
impl ProductQueryService for ProductQueries {
    async fn get_product(&self, request: Request<GetProductRequest>) -> Result<Response<GetProductResponse>, Status> {
        let wanted = self.views.wanted(request.get_ref().min_position, request.metadata())?;
        let id = ProductId::parse(&request.get_ref().product_id).map_err(|e| QueryError::id("product_id", &e))?;
        let answer = self.views.read_one(&Products, wanted, GET_PRODUCT, &[&id.as_str()]).await?;
        answer.must_be_whole(Product::TYPE)?;
        let rows = answer.rows()?;
        let row = rows.first().ok_or_else(|| QueryError::domain(&ProductError::NotFound))?;
        Ok(Response::new(GetProductResponse { product: Some(product(*row)?), position: answer.position.to_i64() }))
    }

    async fn list_products(&self, request: Request<ListProductsRequest>) -> Result<Response<ListProductsResponse>, Status> {
        let asked = request.get_ref();
        let wanted = self.views.wanted(asked.min_position, request.metadata())?;
        let size = paging::size(asked.page_size, USUAL_ROWS)?;
        let status = stored_status(known("state", asked.state)?);
        let query = ("products".to_owned(), status.map(ToOwned::to_owned));
        let after: String = paging::after(&query, &asked.page_token)?.unwrap_or_default();
        let answer = self.views.read(&Products, wanted, LIST_PRODUCTS, &[&after, &status, &i64::from(size + 1)]).await?;
        let rows = answer.rows()?;
        let mut products = rows.iter().take(usize::try_from(size).unwrap_or(0)).map(|row| product(*row)).collect::<Result<Vec<_>, _>>()?;
        let last = products.last().map(|product: &wire::Product| product.product_id.clone());
        let more = rows.len() > products.len();
        // One that is held back may have changed so that it belongs here, or not any more: only pages that end before it are whole.
        if let Some(id) = answer.held_back()?.filter(|id| !more || last.as_deref().is_some_and(|last| *id <= last)) {
            return Err(answer.quarantined(Product::TYPE, id).into());
        }
        let next_page_token = last.filter(|_| more).map(|last| paging::token(&query, &last)).unwrap_or_default();
        products.shrink_to_fit();
        Ok(Response::new(ListProductsResponse { products, next_page_token, position: answer.position.to_i64() }))
    }
}

fn stored_status(state: ProductState) -> Option<&'static str> {
    match state {
        ProductState::Unspecified => None,
        ProductState::Draft => Some(ProductStatus::Draft.as_str()),
        ProductState::OnSale => Some(ProductStatus::OnSale.as_str()),
        ProductState::Suspended => Some(ProductStatus::Suspended.as_str()),
        ProductState::Ended => Some(ProductStatus::Ended.as_str()),
    }
}

/// Columns in the order of `get_product.sql`.
fn product(row: Fields<'_>) -> Result<wire::Product, QueryError> {
    let mode = row.word(2, SaleMode::parse)?;
    let state = row.word(7, |word| ProductStatus::parse(word).and_then(state))?;
    let options =
        row.get::<Vec<&str>>(11)?.into_iter().map(|text| row.json(text).map(|known: ProductOption| option(&known))).collect::<Result<_, _>>()?;
    Ok(wire::Product {
        product_id: row.get(0)?,
        title: row.get(1)?,
        sale_mode: sale_mode(mode).into(),
        time_zone: row.get(3)?,
        currency: row.get(4)?,
        hold_seconds: row.get(5)?,
        cut_off_seconds: row.get(6)?,
        state: state.into(),
        options,
        suspension_reason: row.get(8)?,
        created_at: row.time(9)?,
        changed_at: row.time(10)?,
    })
}
