//! Services and what stands before and behind them.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::format::{age, first_few, joined, labels, name, or, selector};
use super::{Column, Printer, text as column, wide};
use crate::apiserver::value::{has, int, list, text};

pub(super) fn printer(plural: &str) -> Option<Printer> {
    let (columns, cells): (Vec<Column>, fn(&Value, Timestamp) -> Vec<Value>) = match plural {
        "services" => (
            vec![
                column("Name"),
                column("Type"),
                column("Cluster-IP"),
                column("External-IP"),
                column("Port(s)"),
                column("Age"),
                wide("Selector"),
            ],
            service,
        ),
        "endpoints" => (
            vec![column("Name"), column("Endpoints"), column("Age")],
            endpoints,
        ),
        "endpointslices" => (
            vec![
                column("Name"),
                column("AddressType"),
                column("Ports"),
                column("Endpoints"),
                column("Age"),
            ],
            endpoint_slice,
        ),
        "ingresses" => (
            vec![
                column("Name"),
                column("Class"),
                column("Hosts"),
                column("Address"),
                column("Ports"),
                column("Age"),
            ],
            ingress,
        ),
        "ingressclasses" => (
            vec![
                column("Name"),
                column("Controller"),
                column("Parameters"),
                column("Age"),
            ],
            |object, now| {
                vec![
                    name(object),
                    or(object, "/spec/controller", ""),
                    or(object, "/spec/parameters/name", "<none>"),
                    age(object, now),
                ]
            },
        ),
        "networkpolicies" => (
            vec![column("Name"), column("Pod-Selector"), column("Age")],
            |object, now| {
                vec![
                    name(object),
                    selector(object, "/spec/podSelector"),
                    age(object, now),
                ]
            },
        ),
        _ => return None,
    };
    Some(Printer { columns, cells })
}

fn service(service: &Value, now: Timestamp) -> Vec<Value> {
    let kind = text(service, "/spec/type");
    let ingress = joined(
        list(service, "/status/loadBalancer/ingress")
            .iter()
            .map(|one| match text(one, "/ip") {
                "" => text(one, "/hostname"),
                ip => ip,
            }),
        "<pending>",
    );
    let external = joined(
        list(service, "/spec/externalIPs")
            .iter()
            .filter_map(Value::as_str),
        "<none>",
    );
    let external = match kind {
        "LoadBalancer" => ingress,
        "ExternalName" => or(service, "/spec/externalName", "<none>"),
        _ => external,
    };
    let ports: Vec<String> = list(service, "/spec/ports")
        .iter()
        .map(|port| {
            let protocol = match text(port, "/protocol") {
                "" => "TCP",
                protocol => protocol,
            };
            match int(port, "/nodePort") {
                0 => format!("{}/{protocol}", int(port, "/port")),
                node => format!("{}:{node}/{protocol}", int(port, "/port")),
            }
        })
        .collect();
    vec![
        name(service),
        json!(kind),
        or(service, "/spec/clusterIP", "<none>"),
        external,
        joined(ports.iter().map(String::as_str), "<none>"),
        age(service, now),
        labels(service, "/spec/selector"),
    ]
}

fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut found = Vec::new();
    for subset in list(object, "/subsets") {
        for port in list(subset, "/ports") {
            for address in list(subset, "/addresses") {
                found.push(format!("{}:{}", text(address, "/ip"), int(port, "/port")));
            }
        }
    }
    vec![
        name(object),
        first_few(&found, 3, "<none>"),
        age(object, now),
    ]
}

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = list(object, "/ports")
        .iter()
        .map(|port| int(port, "/port").to_string())
        .collect();
    let addresses: Vec<String> = list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| list(endpoint, "/addresses"))
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    vec![
        name(object),
        or(object, "/addressType", ""),
        first_few(&ports, 3, "<unset>"),
        first_few(&addresses, 3, "<unset>"),
        age(object, now),
    ]
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<String> = list(object, "/spec/rules")
        .iter()
        .map(|rule| match text(rule, "/host") {
            "" => "*".to_owned(),
            host => host.to_owned(),
        })
        .collect();
    let address = joined(
        list(object, "/status/loadBalancer/ingress")
            .iter()
            .map(|one| text(one, "/ip")),
        "",
    );
    let ports = if has(object, "/spec/tls") {
        "80, 443"
    } else {
        "80"
    };
    vec![
        name(object),
        or(object, "/spec/ingressClassName", "<none>"),
        first_few(&hosts, 3, "*"),
        address,
        json!(ports),
        age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_lists_its_ports() {
        let service = json!({ "spec": {
            "type": "NodePort",
            "clusterIP": "10.0.0.7",
            "ports": [{ "port": 80, "nodePort": 30080, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }],
        } });
        let cells = super::service(&service, Timestamp::UNIX_EPOCH);
        assert_eq!(cells[3], "<none>");
        assert_eq!(cells[4], "80:30080/TCP,53/UDP");
    }

    #[test]
    fn many_endpoints_are_cut_short() {
        let object = json!({ "subsets": [{
            "addresses": [{ "ip": "a" }, { "ip": "b" }, { "ip": "c" }, { "ip": "d" }],
            "ports": [{ "port": 1 }],
        }] });
        let cells = super::endpoints(&object, Timestamp::UNIX_EPOCH);
        assert_eq!(cells[1], "a:1,b:1,c:1 + 1 more...");
    }
}
