//! `register`, `discover`, `drain`, `deregister` and `watch-endpoints`.

use tenure::{Instance, Readiness, Selector, Token};

use super::{Session, endpoints::Endpoints, holding::Interrupted, print_message, signals::Signals};
use crate::{
    args::{
        DiscoverArgs, DrainArgs, Guarded, InstanceArgs, ReadinessArg, RegisterArgs, SelectorArgs,
    },
    failure::Failure,
    output::{Answer, Reply},
};

/// Registers an instance, and again whenever the registration is lost, until a signal.
pub(super) async fn register(session: &Session, args: &RegisterArgs) -> Result<(), Failure> {
    let mut signals = Signals::take()?;
    let request = session.client.registry().register(instance(args));
    let registering = request.ttl(args.ttl).keep();
    let mut kept = match signals.or_signal(registering).await {
        Ok(kept) => kept?,
        Err(Interrupted) => {
            let text = format!("interrupted before {} was registered", args.id);
            return Err(Failure::Command(anyhow::anyhow!(text)));
        }
    };
    let outcome = loop {
        if let Some(registration) = kept.current() {
            let said = Answer::Registered {
                service: args.service.clone(),
                id: args.id.clone(),
                incarnation: registration.incarnation().get(),
                lease: registration.lease(),
                ttl: args.ttl,
            };
            if let Err(failure) = session.output.print(&Reply::Coordination(said)) {
                break Err(failure);
            }
        }
        match signals.or_signal(kept.changed()).await {
            Err(Interrupted) => break Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let text = format!("the registration of {} has ended: {error}", args.id);
                return Err(Failure::Command(anyhow::anyhow!(text)));
            }
        }
    };
    if let Err(error) = kept.deregister().await {
        print_message(format_args!(
            "{} was not deregistered ({error}): it ends by itself",
            args.id
        ));
    }
    outcome
}

fn instance(args: &RegisterArgs) -> Instance {
    let mut instance = Instance::new(&args.service, &args.id).weight(args.weight);
    for endpoint in &args.served_at {
        instance = instance.endpoint(&endpoint.protocol, &endpoint.host, endpoint.port);
    }
    for (name, value) in &args.metadata {
        instance = instance.metadata(name, value);
    }
    for tag in &args.tags {
        instance = instance.tag(tag);
    }
    if let Some(zone) = &args.zone {
        instance = instance.zone(zone);
    }
    if let Some(version) = &args.program_version {
        instance = instance.version(version);
    }
    if args.not_ready {
        instance = instance.readiness(Readiness::NotReady);
    }
    instance
}

pub(super) async fn discover(session: &Session, args: &DiscoverArgs) -> Result<(), Failure> {
    let registry = session.client.registry();
    let found = registry
        .discover(&args.service, selector(&args.selector))
        .await?;
    session
        .output
        .print(&Reply::Coordination(Answer::Instances(found)))
}

/// Prints the instances, then every change. After a break the stream starts with a snapshot, of
/// which only the changes are printed.
pub(super) async fn watch(session: &Session, args: &DiscoverArgs) -> Result<(), Failure> {
    let registry = session.client.registry();
    let selector = selector(&args.selector);
    let mut watch = registry.watch_endpoints(&args.service, selector).await?;
    let mut known = Endpoints::default();
    while let Some(change) = watch.next().await {
        if let Some(answer) = known.take(change?) {
            session.output.print(&Reply::Coordination(answer))?;
        }
    }
    Ok(())
}

pub(super) async fn drain(session: &Session, drain: Guarded<DrainArgs>) -> Result<(), Failure> {
    let Guarded { args, guards } = drain;
    let InstanceArgs {
        service,
        id,
        incarnation,
    } = args.instance;
    let registry = guards.client(&session.client).registry();
    let (incarnation, grace) = (incarnation.map(Token::new), args.grace);
    let drained = registry.drain(&service, &id, incarnation, grace).await;
    drained.map_err(|error| guards.explain(error))?;
    session.output.print(&Reply::Coordination(Answer::Departed {
        service,
        id,
        grace: Some(grace),
    }))
}

pub(super) async fn deregister(
    session: &Session,
    deregister: Guarded<InstanceArgs>,
) -> Result<(), Failure> {
    let Guarded { args, guards } = deregister;
    let registry = guards.client(&session.client).registry();
    let incarnation = args.incarnation.map(Token::new);
    let gone = registry
        .deregister(&args.service, &args.id, incarnation)
        .await;
    gone.map_err(|error| guards.explain(error))?;
    session.output.print(&Reply::Coordination(Answer::Departed {
        service: args.service,
        id: args.id,
        grace: None,
    }))
}

fn selector(args: &SelectorArgs) -> Selector {
    let any = args.readiness.contains(&ReadinessArg::Any);
    let mut selector = if any {
        Selector::any()
    } else {
        Selector::default()
    };
    for readiness in args.readiness.iter().filter(|_| !any) {
        selector = match readiness {
            ReadinessArg::Starting => selector.readiness(Readiness::Starting),
            ReadinessArg::Ready => selector.readiness(Readiness::Ready),
            ReadinessArg::Draining => selector.readiness(Readiness::Draining),
            ReadinessArg::NotReady => selector.readiness(Readiness::NotReady),
            ReadinessArg::Any => selector,
        };
    }
    for tag in &args.tags {
        selector = selector.tag(tag);
    }
    for (name, value) in &args.metadata {
        selector = selector.metadata(name, value);
    }
    if let Some(zone) = &args.zone {
        selector = selector.zone(zone);
    }
    if let Some(version) = &args.program_version {
        selector = selector.version(version);
    }
    if args.passing_or_all {
        selector = selector.passing_or_all();
    }
    selector
}
