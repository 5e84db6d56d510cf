//! Parameters that the gateway acts on: annotated arguments, listen filters, URI templates.

use bridge_mcp::limits::Limits;
use bridge_mcp::param_headers::{ParamHeaders, Sent, decode_value, encode_value};
use bridge_mcp::resource::{BackendResources, Ownership, ResourceTable};
use bridge_mcp::subscription::{Filter, Supported};

/// Three lines: a tool definition (also tried as a URI template), its arguments (also as a filter), a header value
/// (also as a URI).
pub fn fuzz_params(data: &[u8]) {
    let limits = Limits::client(1 << 16, 64);
    let mut lines = data.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (tool, arguments, value) = (line(), line(), line());
    let value = String::from_utf8_lossy(value);

    assert_eq!(decode_value(&encode_value(&value)).as_deref(), Some(&*value), "a written value reads back");
    if let Ok(headers) = ParamHeaders::of_tool(tool) {
        let _ = headers.check(Some(arguments), &limits, |_| Sent::Text(&value));
        if let Ok(written) = headers.write(Some(arguments), &limits) {
            let sent = |name: &str| match written.iter().find(|(header, _)| *header == name) {
                Some((_, value)) => Sent::Text(value),
                None => Sent::Absent,
            };
            assert_eq!(
                headers.check(Some(arguments), &limits, sent),
                Ok(()),
                "what we write passes our own check"
            );
        }
    }
    if let Ok(filter) = Filter::parse(Some(arguments), &limits, 50) {
        let again = Filter::parse(Some(&filter.to_json()), &limits, 50);
        assert_eq!(again.as_ref(), Ok(&filter));
        assert!(filter.honoured(Supported::default()).is_empty());
        for uri in &filter.resource_subscriptions {
            assert!(filter.matches("notifications/resources/updated", Some(uri)));
        }
    }
    let template = String::from_utf8_lossy(tool);
    let table = ResourceTable::build(&[BackendResources { uris: &[&value], templates: &[&template] }]);
    assert_eq!(table.owner(&value), Ownership::Listed(0));
    let _ = table.owner(&String::from_utf8_lossy(arguments));
}
