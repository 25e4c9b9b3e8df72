//! The map from causes to statuses, and the document that lists it.

use tenure_statemachine::Revision;

use super::*;

const DOCUMENT: &str = include_str!("../../../../../docs/errors.md");

/// The rows of the table, as name, code and text.
fn rows() -> Vec<(String, String, String)> {
    let rows = DOCUMENT.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let name = cells.next()?.trim_end_matches('`').to_owned();
        let code = cells.next()?.to_owned();
        let text = cells.next()?.trim_matches('`').to_owned();
        let advice = cells.next()?.trim_end_matches(" |");
        assert!(
            advice.ends_with('.'),
            "{name} says what to do in a sentence"
        );
        Some((name, code, text))
    });
    rows.collect()
}

#[test]
fn the_document_lists_every_reason_with_its_code_and_text_and_no_other() {
    let expected: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| {
            (
                format!("{reason:?}"),
                format!("{:?}", reason.code()),
                reason.text().to_owned(),
            )
        })
        .collect();
    assert_eq!(rows(), expected);
}

#[test]
fn a_status_carries_code_text_and_whether_the_outcome_is_unknown() {
    for reason in Reason::ALL {
        let status = Status::from(*reason);
        assert_eq!(status.code(), reason.code());
        assert_eq!(status.message(), reason.text());
        let unknown = status.metadata().get(OUTCOME_METADATA);
        assert_eq!(
            unknown.is_some_and(|it| it == OUTCOME_UNKNOWN),
            reason.outcome_unknown()
        );
        assert_eq!(reason_of(&status), Some(*reason));
    }
}

#[test]
fn a_detail_follows_the_text_and_a_stale_token_tells_the_present_one() {
    let detail = "lock \"jobs/42\": your token 17, current 23";
    let failure = Reason::GuardStale.stale(detail, Revision(23));
    assert_eq!(failure.reason(), Reason::GuardStale);
    let status = Status::from(failure);
    assert_eq!(status.code(), Code::FailedPrecondition);
    let text = "tenure: guard is stale: lock \"jobs/42\": your token 17, current 23";
    assert_eq!(status.message(), text);
    let metadata_of = |key| {
        status
            .metadata()
            .get(key)
            .map(|value| value.to_str().unwrap())
    };
    assert_eq!(metadata_of(REASON_METADATA), Some("GuardStale"));
    assert_eq!(metadata_of(CURRENT_TOKEN_METADATA), Some("23"));
    assert_eq!(reason_of(&status), Some(Reason::GuardStale));
    let etcds = Status::from(Reason::LeaseNotFound);
    assert!(
        etcds.metadata().is_empty(),
        "etcd's reasons are as etcd tells them"
    );
}

#[test]
fn a_refusal_for_overload_says_when_to_try_again() {
    let hint = |failure: Failure| {
        Status::from(failure)
            .metadata()
            .get(RETRY_METADATA)
            .cloned()
    };
    let after = hint(Reason::TooManyRequests.into()).expect("a hint");
    assert_eq!(after, RETRY_AFTER_MS);
    for reason in [Reason::QueueFull, Reason::TooManyRequestKeys] {
        let hinted = hint(reason.with("detail"));
        assert!(hinted.is_some(), "{reason:?} advises to try again");
    }
    assert_eq!(
        hint(Reason::NoSpace.into()),
        None,
        "a pause does not make space"
    );
}

#[test]
fn only_proposals_that_left_have_an_unknown_outcome() {
    for (error, reason, unknown) in [
        (ProposeError::NoLeader, Reason::NoLeader, false),
        (ProposeError::Overloaded, Reason::TooManyRequests, false),
        (ProposeError::TooLarge, Reason::RequestTooLarge, false),
        (ProposeError::Stopping, Reason::Stopped, false),
        (
            ProposeError::LevelNotReached,
            Reason::LevelNotReached,
            false,
        ),
        (ProposeError::TimedOut, Reason::WriteTimedOut, true),
        (ProposeError::LeaderLost, Reason::WriteLostLeader, true),
    ] {
        assert_eq!(Reason::from(error), reason);
        assert_eq!(reason.outcome_unknown(), unknown);
    }
}

/// The reason of a status, without the detail of the case.
pub(crate) fn reason_of(status: &Status) -> Option<Reason> {
    let unknown = status.metadata().get(OUTCOME_METADATA).is_some();
    let own = status.metadata().get(REASON_METADATA);
    let found = Reason::ALL.iter().find(|reason| {
        let rest = status.message().strip_prefix(reason.text());
        reason.code() == status.code()
            && rest.is_some_and(|detail| detail.is_empty() || detail.starts_with(": "))
            && reason.outcome_unknown() == unknown
            && own.is_none_or(|own| own == reason.name())
    });
    found.copied()
}
