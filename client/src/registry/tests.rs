//! Tests of registrations against an in-process server with fault injection.

use std::{sync::Arc, time::Duration};

use tenure_proto::v1;
use tokio::{sync::watch, time::timeout};
use tonic::Status;

use super::resolver::REFUSED_PAUSE;
use crate::{
    ClaimLoss, EndpointChange, Error, ErrorKind, Instance, Readiness, RegisteredInstance, Selector,
    fake::{Fake, Fault, Store},
};

/// Test timeout: longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

fn instance(id: &str) -> Instance {
    Instance::new("s", id).endpoint("grpc", "127.0.0.1", 1)
}

#[tokio::test]
async fn an_instance_is_found_until_it_is_deregistered() {
    let (fake, client) = Fake::start().await;
    let registry = client.registry();
    let registration = registry.register(instance("a")).await.unwrap();
    assert!(registration.is_held());
    let found = registry.discover("s", Selector::default()).await.unwrap();
    let found = found.registrations();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].incarnation(), registration.incarnation());
    assert_eq!(found[0].lease(), registration.lease());

    registration.set_ready(false).await.unwrap();
    let readiness = || {
        fake.store.lock().instances("s")[0]
            .instance
            .as_ref()
            .unwrap()
            .readiness()
    };
    assert_eq!(readiness(), v1::Readiness::NotReady);
    registration.drain(Duration::from_secs(5)).await.unwrap();
    assert_eq!(readiness(), v1::Readiness::Draining);
    registration.deregister().await.unwrap();
    fake.until(|store| store.instances("s").is_empty() && store.leases().is_empty())
        .await;
}

#[tokio::test]
async fn a_registration_that_is_dropped_goes_in_the_background() {
    let (fake, client) = Fake::start().await;
    drop(client.registry().register(instance("a")).await.unwrap());
    fake.until(|store| store.instances("s").is_empty() && store.leases().is_empty())
        .await;

    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    drop(
        client
            .registry()
            .register(instance("a"))
            .session(&session)
            .await
            .unwrap(),
    );
    fake.until(|store| store.instances("s").is_empty()).await;
    assert!(session.is_held());
}

#[tokio::test]
async fn an_instance_whose_place_is_taken_knows_and_does_not_disturb_its_successor() {
    let (fake, client) = Fake::start().await;
    let first = client.registry().register(instance("a")).await.unwrap();
    let second = client.registry().register(instance("a")).await.unwrap();
    assert!(second.incarnation() > first.incarnation());
    assert_eq!(
        timeout(PATIENCE, first.lost()).await.unwrap(),
        ClaimLoss::Revoked
    );
    let error = first.set_ready(false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstanceReplaced);
    drop(first);
    fake.until(|store| store.leases().len() == 1).await;
    assert!(second.is_held());
    assert_eq!(fake.store.lock().instances("s").len(), 1);
}

#[tokio::test]
async fn a_kept_registration_comes_back_as_it_was_last() {
    let (fake, client) = Fake::start().await;
    let request = client.registry().register(instance("a"));
    let mut kept = request
        .ttl(Duration::from_millis(300))
        .keep()
        .await
        .unwrap();
    kept.set_readiness(Readiness::NotReady).await.unwrap();
    let first = kept.current().unwrap();
    let (incarnation, lease) = (first.incarnation(), first.lease());
    drop(first);
    // The key is deleted with the lease; the instance may learn of either first.
    fake.change(|store| store.revoke(lease.get()));
    let next = timeout(PATIENCE, kept.changed()).await.unwrap().unwrap();
    assert!(next > incarnation);
    let found = fake.store.lock().instances("s").remove(0);
    assert_eq!(found.instance.unwrap().readiness(), v1::Readiness::NotReady);
    drop(kept);
    fake.until(|store| store.instances("s").is_empty()).await;
}

#[tokio::test]
async fn a_readiness_that_is_set_while_an_instance_registers_again_is_said() {
    let (fake, client) = Fake::start().await;
    let request = client.registry().register(instance("a"));
    let ttl = Duration::from_millis(300);
    let kept = request.ttl(ttl).keep().await.unwrap();
    let lease = kept.current().unwrap().lease();
    fake.mode(|modes| modes.held = true);
    fake.plan(&["register"], [Fault::Hold]);
    fake.change(|store| store.revoke(lease.get()));
    // The next registration is in progress, with the previous readiness.
    fake.until(|store| store.calls("register") == 2).await;
    kept.set_readiness(Readiness::NotReady).await.unwrap();
    fake.mode(|modes| modes.held = false);
    let readiness = |store: &Store| {
        let found = store.instances("s").pop();
        found.map(|found| found.instance.unwrap().readiness())
    };
    fake.until(|store| readiness(store) == Some(v1::Readiness::NotReady))
        .await;
}

#[tokio::test]
async fn a_kept_registration_ends_with_the_session_of_the_user() {
    let (_fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let request = client.registry().register(instance("a")).session(&session);
    let mut kept = request.keep().await.unwrap();
    session.close().await.unwrap();
    let error = timeout(PATIENCE, kept.changed()).await.unwrap();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::SessionLost);
    assert!(kept.current().is_none());
}

#[tokio::test]
async fn an_instance_that_registered_through_a_guarded_client_leaves_when_the_guard_is_stale() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let outer = client.locks().acquire("outer").await.unwrap();
    let registry = outer.guarded().registry();
    let register = |id| registry.register(instance(id)).session(&session);
    let removed = register("a").await.unwrap();
    let dropped = register("b").await.unwrap();
    outer.release().await.unwrap();
    removed.deregister().await.unwrap();
    drop(dropped);
    fake.until(|store| store.instances("s").is_empty()).await;
    assert!(session.is_held());
}

#[tokio::test]
async fn a_kept_registration_whose_key_is_deleted_comes_back() {
    let (fake, client) = Fake::start().await;
    let request = client.registry().register(instance("a"));
    let mut kept = request
        .ttl(Duration::from_millis(300))
        .keep()
        .await
        .unwrap();
    let incarnation = kept.current().unwrap().incarnation();
    client.delete("tenure.services/s/a").await.unwrap();
    let next = timeout(PATIENCE, kept.changed()).await.unwrap().unwrap();
    assert!(next > incarnation);
    kept.deregister().await.unwrap();
    assert!(fake.store.lock().instances("s").is_empty());
}

#[tokio::test]
async fn a_kept_registration_does_not_come_back_from_an_operators_deregistration() {
    let (fake, client) = Fake::start().await;
    let registry = client.registry();
    let mut kept = registry.register(instance("a")).keep().await.unwrap();
    registry.deregister("s", "a", None).await.unwrap();
    let ended = timeout(PATIENCE, kept.changed()).await.unwrap();
    let reason = ended.unwrap_err().to_string();
    assert!(reason.contains("by an operator"), "{reason}");
    assert!(fake.store.lock().instances("s").is_empty());
}

#[tokio::test]
async fn a_kept_registration_does_not_fight_for_its_place() {
    let (_fake, client) = Fake::start().await;
    let mut kept = client
        .registry()
        .register(instance("a"))
        .keep()
        .await
        .unwrap();
    let successor = client.registry().register(instance("a")).await.unwrap();
    let error = timeout(PATIENCE, kept.changed())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InstanceReplaced);
    assert!(successor.is_held());
}

fn ids(registrations: &[RegisteredInstance]) -> Vec<&str> {
    registrations.iter().map(RegisteredInstance::id).collect()
}

#[tokio::test]
async fn a_watch_of_endpoints_goes_on_after_a_break() {
    let (fake, client) = Fake::start().await;
    let registry = client.registry();
    let _a = registry.register(instance("a")).await.unwrap();
    let mut watch = registry
        .watch_endpoints("s", Selector::default())
        .await
        .unwrap();
    for (id, expected) in [("b", vec!["a"]), ("c", vec!["a", "b"])] {
        let change = timeout(PATIENCE, watch.next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let EndpointChange::Snapshot { registrations, .. } = change else {
            panic!("the fake sends snapshots only: {change:?}");
        };
        assert_eq!(ids(&registrations), expected);
        fake.break_streams();
        // Kept by its lease, without a handle.
        fake.change(|store| store.register(&instance(id).0));
    }
}

#[tokio::test]
async fn a_resolver_keeps_its_last_view_while_nobody_answers_and_goes_on_afterwards() {
    let (fake, client) = Fake::start().await;
    let _a = client.registry().register(instance("a")).await.unwrap();
    let mut resolver = client.registry().resolver("s", Selector::default());
    let view = timeout(PATIENCE, resolver.ready()).await.unwrap().unwrap();
    assert!(view.get("a").is_some() && view.registrations().len() == 1);

    let down = Status::unavailable("tenure: there is no quorum");
    fake.mode(|modes| modes.endpoints_refused = Some(down));
    fake.break_streams();
    fake.until(|store| store.calls("refused") > 1).await;
    let old = resolver.view().unwrap();
    assert!(old.get("a").is_some() && old.revision() == view.revision());

    let _b = client.registry().register(instance("b")).await.unwrap();
    fake.mode(|modes| modes.endpoints_refused = None);
    let seen = async { while resolver.changed().await.unwrap().get("b").is_none() {} };
    timeout(PATIENCE, seen).await.unwrap();
    assert!(resolver.view().unwrap().age() < old.age());
}

/// After a refusal, the stream may also resume at a member that is behind.
#[tokio::test]
async fn a_resolver_does_not_go_back_in_time_after_a_refusal() {
    let (fake, client) = Fake::start().await;
    // Registered without a handle, because the clock is moved.
    let register = |id| fake.change(|store| store.register(&instance(id).0));
    register("a");
    register("b");
    let mut resolver = client.registry().resolver("s", Selector::default());
    timeout(PATIENCE, resolver.ready()).await.unwrap().unwrap();
    let view = resolver.changed().await.unwrap();
    let mut refusals = resolver.refusals.clone();
    let words = fake.store.lock().calls("snapshots");

    refuse(&fake, &mut refusals).await;
    fake.mode(|modes| (modes.endpoints_refused, modes.behind) = (None, 1));
    pass(REFUSED_PAUSE).await;
    fake.until(|store| store.calls("snapshots") > words).await;
    // The message is processed before the next refusal.
    refuse(&fake, &mut refusals).await;
    assert_eq!(resolver.view().unwrap().revision(), view.revision());

    fake.mode(|modes| (modes.endpoints_refused, modes.behind) = (None, 0));
    register("c");
    pass(REFUSED_PAUSE).await;
    let next = timeout(PATIENCE, resolver.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(next.registrations().len(), 3);
    assert!(next.revision() > view.revision(), "{next:?}");
}

/// Makes the registry refuse endpoint watches, and waits until the client has received a refusal.
async fn refuse(fake: &Fake, refusals: &mut watch::Receiver<Option<Arc<Error>>>) {
    let denied = Status::permission_denied("etcdserver: permission denied");
    fake.mode(|modes| modes.endpoints_refused = Some(denied));
    fake.break_streams();
    let refused = timeout(PATIENCE, refusals.changed()).await;
    refused.expect("it is refused in time").unwrap();
}

/// Moves the clock.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_operator_drains_and_removes_whichever_instance_is_registered() {
    let (fake, client) = Fake::start().await;
    let registry = client.registry();
    let grace = Duration::from_secs(5);
    let none = registry.drain("s", "a", None, grace).await.unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NotFound);
    let registration = registry.register(instance("a")).await.unwrap();
    registry.drain("s", "a", None, grace).await.unwrap();
    let seen = fake.store.lock().instances("s").remove(0);
    assert_eq!(seen.instance.unwrap().readiness(), v1::Readiness::Draining);
    registry.deregister("s", "a", None).await.unwrap();
    let loss = timeout(PATIENCE, registration.lost()).await.unwrap();
    assert_eq!(loss, ClaimLoss::Revoked);
}

#[tokio::test]
async fn an_operator_who_names_a_life_leaves_the_next_one_alone() {
    let (fake, client) = Fake::start().await;
    let registry = client.registry();
    let first = registry.register(instance("a")).await.unwrap();
    let second = registry.register(instance("a")).await.unwrap();
    let (old, new) = (Some(first.incarnation()), Some(second.incarnation()));
    let grace = Duration::from_secs(5);
    for refused in [
        registry.drain("s", "a", old, grace).await.map(drop),
        registry.deregister("s", "a", old).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InstanceReplaced);
    }
    let guard = client.locks().acquire("operators").await.unwrap();
    let holder = guard.guarded().registry();
    guard.release().await.unwrap();
    for refused in [
        holder.drain("s", "a", new, grace).await.map(drop),
        holder.deregister("s", "a", new).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::StaleGuard);
    }
    let seen = fake.store.lock().instances("s").remove(0);
    assert_eq!(seen.instance.unwrap().readiness(), v1::Readiness::Ready);
    registry.deregister("s", "a", new).await.unwrap();
    assert!(fake.store.lock().instances("s").is_empty());
}

#[tokio::test]
async fn an_instance_that_was_removed_without_an_answer_is_reported_as_what_is_known() {
    let (fake, client) = Fake::start().await;
    let session = client
        .sessions()
        .open(Duration::from_secs(30))
        .await
        .unwrap();
    let (registry, exact) = (client.registry(), session.client().registry());
    let grace = Duration::from_secs(5);
    let _a = registry.register(instance("a")).await.unwrap();
    fake.lose_answer();
    exact.drain("s", "a", None, grace).await.unwrap();
    fake.lose_answer();
    // A second execution would fail, because the instance is gone.
    exact.deregister("s", "a", None).await.unwrap();

    let _b = registry.register(instance("b")).await.unwrap();
    fake.lose_answer();
    let lost = registry.drain("s", "b", None, grace).await;
    assert!(lost.unwrap_err().outcome_unknown());
    // The lost answer is that of the preceding drain: the removal settles its outcome.
    fake.lose_answer();
    registry.deregister("s", "b", None).await.unwrap();
    assert!(fake.store.lock().instances("s").is_empty());
}
