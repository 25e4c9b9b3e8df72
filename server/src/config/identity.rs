//! Computes the ids of members and clusters that are formed from a configuration.
//!
//! The ids equal etcd's: the same names and addresses give the same ids. A member that is added
//! later gets its id from the cluster instead.

use std::fmt;

use tenure_statemachine::MemberId;

use super::url::Url;

/// Identifies a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u64);

impl fmt::Display for ClusterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:x}", self.0)
    }
}

/// The id of a founding member: a hash of its peer addresses, sorted, and the cluster's token.
#[must_use]
pub fn member_id(peer_urls: &[Url], cluster_token: &str) -> MemberId {
    let texts: Vec<String> = peer_urls.iter().map(ToString::to_string).collect();
    tenure_backup::member_id(texts.iter().map(String::as_str), cluster_token)
}

/// The id of a member that is added at `seconds`: as that of a founding member, with the time in
/// place of the token, as etcd makes it.
#[must_use]
pub fn member_id_at(peer_urls: &[String], seconds: u64) -> MemberId {
    tenure_backup::member_id(peer_urls.iter().map(String::as_str), &seconds.to_string())
}

/// The id of a cluster: a hash of its founding members' ids, sorted.
#[must_use]
pub fn cluster_id(members: impl IntoIterator<Item = MemberId>) -> ClusterId {
    ClusterId(tenure_backup::cluster_id(members))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(text: &str) -> Vec<Url> {
        Url::parse_list(text).unwrap()
    }

    // The numbers below were printed by etcd 3.4 clusters with exactly these settings.

    #[test]
    fn a_lone_member_has_the_ids_etcd_gives_it() {
        let member = member_id(&urls("http://127.0.0.1:23801"), "tok");
        assert_eq!(member, MemberId(4_627_081_221_937_520_288));
        assert_eq!(member.to_string(), "4036b1db24775ea0");
        assert_eq!(cluster_id([member]), ClusterId(2_478_302_587_001_825_083));
    }

    #[test]
    fn the_default_member_has_the_ids_etcd_gives_it() {
        let member = member_id(&urls("http://localhost:2380"), "etcd-cluster");
        assert_eq!(member, MemberId(10_276_657_743_932_975_437));
        assert_eq!(cluster_id([member]), ClusterId(14_841_639_068_965_178_418));
    }

    #[test]
    fn three_members_have_the_ids_etcd_gives_them_in_any_order() {
        let id = |text| member_id(&urls(text), "tenure-test");
        let first = id("http://127.0.0.1:23811");
        let second = id("http://127.0.0.1:23812");
        let third = id("http://localhost:23814,http://127.0.0.1:23813");
        assert_eq!(first, MemberId(0x2d91_c8a9_21dc_9ffb));
        assert_eq!(second, MemberId(0x75b4_ad50_8929_64cf));
        assert_eq!(third, MemberId(0xea53_9830_6c7e_d650));
        let cluster = ClusterId(25_853_471_846_345_179);
        assert_eq!(cluster_id([third, first, second]), cluster);
        assert_eq!(cluster_id([first, second, third]), cluster);
    }
}
