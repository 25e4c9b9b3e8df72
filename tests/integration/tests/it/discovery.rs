//! Finding the instances of a service and calling them: real nodes, and servers of gRPC in this
//! process that register with them.

mod balancing;
mod instances;
mod views;

use std::time::Duration;

use tenure::{Client, EndpointView, Instance, Registration, Resolver, Selector};
use tenure_testkit::{Cluster, STATE_MAX};
use tokio::time::timeout;

use self::instances::Server;

/// The service that the instances are of.
const SERVICE: &str = "billing";
/// A TTL that no test outlives, an outage of all nodes included.
const LONG: Duration = Duration::from_secs(60);

async fn client(cluster: &Cluster) -> Client {
    Client::connect(cluster.addresses()).await.unwrap()
}

fn instance(id: &str, port: u16) -> Instance {
    Instance::new(SERVICE, id).endpoint("grpc", "127.0.0.1", port)
}

async fn register(client: &Client, server: &Server) -> Registration {
    let instance = instance(server.name(), server.port());
    client
        .registry()
        .register(instance)
        .ttl(LONG)
        .await
        .unwrap()
}

async fn resolver(client: &Client) -> Resolver {
    let resolver = client.registry().resolver(SERVICE, Selector::default());
    let ready = timeout(STATE_MAX, resolver.ready()).await;
    ready.expect("the cluster answers").unwrap();
    resolver
}

/// Waits for a view that is as it should be.
async fn view_that(
    resolver: &Resolver,
    what: &str,
    wanted: impl Fn(&EndpointView) -> bool,
) -> EndpointView {
    let mut resolver = resolver.clone();
    let looking = async {
        let mut view = resolver.view();
        loop {
            match view {
                Some(view) if wanted(&view) => return view,
                _ => view = Some(resolver.changed().await.unwrap()),
            }
        }
    };
    let view = timeout(STATE_MAX, looking).await;
    view.unwrap_or_else(|_| panic!("waiting until {what}: {:?}", resolver_ids(&resolver)))
}

fn resolver_ids(resolver: &Resolver) -> Vec<String> {
    resolver.view().as_ref().map(ids).unwrap_or_default()
}

fn ids(view: &EndpointView) -> Vec<String> {
    view.registrations().map(|it| it.id().to_owned()).collect()
}
