//! Rules that hold for every method of the contract, read from its descriptors.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MethodDescriptorProto, field_descriptor_proto::Type};

struct Contract {
    messages: BTreeMap<String, DescriptorProto>,
    methods: Vec<(String, MethodDescriptorProto)>,
    packages: BTreeSet<String>,
}

fn contract() -> Contract {
    let files = FileDescriptorSet::decode(crate::FILE_DESCRIPTOR_SET).unwrap().file;
    let mut contract = Contract { messages: BTreeMap::new(), methods: Vec::new(), packages: BTreeSet::new() };
    for file in files.into_iter().filter(|file| file.package().starts_with("reservation.")) {
        let package = file.package().to_owned();
        contract.messages.extend(file.message_type.into_iter().map(|message| (format!(".{package}.{}", message.name()), message)));
        for service in file.service {
            let name = service.name().to_owned();
            contract.methods.extend(service.method.into_iter().map(|method| (format!("{name}.{}", method.name()), method)));
        }
        contract.packages.insert(package);
    }
    assert!(contract.methods.len() >= 30, "the descriptors hold the services");
    contract
}

fn field<'a>(message: &'a DescriptorProto, name: &str, kind: Type) -> Option<&'a FieldDescriptorProto> {
    message.field.iter().find(|field| field.name() == name && field.r#type() == kind)
}

/// Whoever asks for the history names moments of the log itself, which is read and not waited for; a chain or a stream comes in pages or bunches.
fn is_history(method: &str) -> bool {
    method.starts_with("HistoryService.")
}

#[test]
fn every_request_is_a_command_with_an_id_or_a_query_with_a_position() {
    let contract = contract();
    for (name, method) in &contract.methods {
        let request = &contract.messages[method.input_type()];
        let command = field(request, "request_id", Type::String).is_some_and(|id| id.number() == 1);
        let query = field(request, "min_position", Type::Int64).is_some();
        if is_history(name) {
            assert!(!command && !query, "{name}: the history is read at the moment that its request names");
            continue;
        }
        assert!(command != query, "{name}: its request needs `string request_id = 1` (a command) or `int64 min_position` (a query)");
        let paged = field(request, "page_size", Type::Int32).is_some() && field(request, "page_token", Type::String).is_some();
        assert_eq!(method.name().starts_with("List"), paged, "{name}: lists, and only they, have `page_size` and `page_token`");
    }
}

/// An erasure is no event: the keys lie apart from the log and have no position, and from the answer on nothing opens what they sealed.
fn is_erasure(method: &str) -> bool {
    method == "SubjectService.EraseSubject"
}

#[test]
fn every_answer_says_at_which_position_it_holds() {
    let contract = contract();
    for (name, method) in &contract.methods {
        let response = &contract.messages[method.output_type()];
        // of the history each event and each state says its own
        if is_history(name) || is_erasure(name) {
            continue;
        }
        assert!(field(response, "position", Type::Int64).is_some(), "{name}: its response needs `int64 position`");
        assert_eq!(method.name().starts_with("List"), field(response, "next_page_token", Type::String).is_some(), "{name}: `next_page_token`");
    }
}

#[test]
fn every_message_is_in_no_unit_but_whole_ones() {
    for (name, message) in contract().messages {
        for field in &message.field {
            assert!(!matches!(field.r#type(), Type::Double | Type::Float), "{name}.{}: no floats in the contract", field.name());
        }
    }
}

#[test]
fn every_package_of_the_contract_has_its_module() {
    let modules = ["availability", "history", "inventory", "log", "operations", "order", "product", "subject", "type"]
        .map(|area| format!("reservation.{area}.v1"));
    assert_eq!(contract().packages, BTreeSet::from(modules), "a new package needs its `package!` in src/lib.rs, and its line here");
}
