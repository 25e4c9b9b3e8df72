//! Ids of the members of a cluster, and of the cluster, as etcd computes them.

use sha1::{Digest, Sha1};
use tenure_statemachine::MemberId;

/// The id of a founding member: a hash of its peer URLs, sorted, and the cluster's token.
#[must_use]
pub fn member_id<'a>(peer_urls: impl IntoIterator<Item = &'a str>, token: &str) -> MemberId {
    let mut urls: Vec<&str> = peer_urls.into_iter().collect();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    for url in urls {
        hash.update(url);
    }
    hash.update(token);
    MemberId(first_u64(hash))
}

/// The id of a cluster: a hash of its founding members' ids, sorted.
#[must_use]
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> u64 {
    let mut members: Vec<MemberId> = members.into_iter().collect();
    members.sort_unstable();
    let mut hash = Sha1::new();
    for member in members {
        hash.update(member.0.to_be_bytes());
    }
    first_u64(hash)
}

fn first_u64(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    digest
        .first_chunk()
        .map_or(0, |first| u64::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The numbers below were printed by etcd 3.4 clusters with exactly these settings.

    #[test]
    fn ids_are_those_that_etcd_gives() {
        let member = member_id(["http://127.0.0.1:23801"], "tok");
        assert_eq!(member, MemberId(4_627_081_221_937_520_288));
        assert_eq!(cluster_id([member]), 2_478_302_587_001_825_083);
    }

    #[test]
    fn the_order_of_urls_and_members_does_not_matter() {
        let id = |urls: [&'static str; 2]| member_id(urls, "tenure-test");
        let (a, b) = ("http://localhost:23814", "http://127.0.0.1:23813");
        assert_eq!(id([a, b]), MemberId(0xea53_9830_6c7e_d650));
        assert_eq!(id([b, a]), id([a, b]));
        let first = MemberId(0x2d91_c8a9_21dc_9ffb);
        let second = MemberId(0x75b4_ad50_8929_64cf);
        let expected = 25_853_471_846_345_179;
        assert_eq!(cluster_id([id([a, b]), first, second]), expected);
        assert_eq!(cluster_id([first, second, id([a, b])]), expected);
    }
}
