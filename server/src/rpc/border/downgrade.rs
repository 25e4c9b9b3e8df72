//! Requests for a downgrade: which are malformed, and which ask for a version that is none to go
//! back to. etcd checks the same, in the same order.

use tenure_proto::{API_VERSION, etcdserverpb::DowngradeRequest};

use crate::rpc::answer::{failure::Failure, status::Reason};

/// Refuses a request for a version that is no older neighbour of this one.
///
/// # Errors
/// What is wrong with the version.
pub(in crate::rpc) fn check(request: &DowngradeRequest) -> Result<(), Failure> {
    let target = version(&request.version).ok_or(Reason::DowngradeMalformed)?;
    let own = version(API_VERSION).expect("invariant: the version of the API is one");
    let is_before = target.0 == own.0 && target.1.checked_add(1) == Some(own.1);
    if !is_before {
        return Err(Reason::DowngradeInvalid.into());
    }
    Ok(())
}

/// Major and minor version of `3.5` and of `3.5.1`, which may have a label: `3.5.0-rc.0`.
fn version(text: &str) -> Option<(u64, u64)> {
    let numbers = text
        .split_once(['-', '+'])
        .map_or(text, |(numbers, _)| numbers);
    let numbers = numbers.split('.').map(|number| {
        let is_number = !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
        is_number.then(|| number.parse::<u64>().ok()).flatten()
    });
    let numbers = numbers.collect::<Option<Vec<_>>>()?;
    match *numbers {
        [major, minor] if numbers.len() == 2 && !text.contains(['-', '+']) => Some((major, minor)),
        [major, minor, _] => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_the_version_before_and_malformed_or_invalid_otherwise() {
        let reason = |version: &str| {
            let request = DowngradeRequest {
                version: version.to_owned(),
                ..DowngradeRequest::default()
            };
            check(&request).map_err(|failure| failure.reason()).err()
        };
        for version in ["3.5", "3.5.0", "3.5.9-rc.1"] {
            assert_eq!(reason(version), None, "{version}");
        }
        for version in ["3.6", "3.4.0", "2.5", "4.5.0", "3.7"] {
            assert_eq!(reason(version), Some(Reason::DowngradeInvalid), "{version}");
        }
        for version in [
            "", "3", "x", "3.x", "3.5.0.0", "3.5-rc", "3..0", "v3.5", "-1.5",
        ] {
            assert_eq!(
                reason(version),
                Some(Reason::DowngradeMalformed),
                "{version}"
            );
        }
    }
}
