//! How many members of etcd vote, and how many of them must.

use crate::rolling::Member;

/// Voters, and those of them that are known to be healthy. A learner votes for nothing, and what is unknown is not healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    pub voters: usize,
    pub healthy: usize,
}

impl Quorum {
    pub fn of(members: &[Member]) -> Self {
        Self::among(members.iter())
    }

    /// As it is once this member is gone.
    pub fn without(members: &[Member], id: &str) -> Self {
        Self::among(members.iter().filter(|member| member.id != id))
    }

    fn among<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let mut quorum = Self { voters: 0, healthy: 0 };
        for member in members.filter(|member| !member.learner) {
            quorum.voters += 1;
            quorum.healthy += usize::from(member.healthy == Some(true));
        }
        quorum
    }

    /// With so many healthy ones away, which come back.
    #[must_use]
    pub fn less(self, away: usize) -> Self {
        Self { healthy: self.healthy.saturating_sub(away), ..self }
    }

    /// Voters that must agree (etcd FAQ, "Why an odd number of cluster members?").
    pub fn needed(self) -> usize {
        self.voters / 2 + 1
    }

    /// With no voter at all there is nothing left to keep.
    pub fn is_kept(self) -> bool {
        self.voters > 0 && self.healthy >= self.needed()
    }
}

impl std::fmt::Display for Quorum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} etcd members healthy, {} needed", self.healthy, self.voters, self.needed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, learner: bool, healthy: Option<bool>) -> Member {
        Member { id: id.into(), instance: id.into(), learner, healthy, since: 0, leader: false }
    }

    #[test]
    fn a_learner_and_an_unknown_member_keep_no_quorum() {
        let members = [member("a", false, Some(true)), member("b", false, Some(true)), member("c", false, None)];
        assert!(Quorum::of(&members).is_kept());
        assert!(!Quorum::without(&members, "a").is_kept(), "b and an unknown one");
        assert!(Quorum::without(&members, "c").is_kept());
        let learning = [member("a", false, Some(true)), member("b", true, Some(true))];
        assert_eq!(Quorum::of(&learning), Quorum { voters: 1, healthy: 1 });
        assert!(!Quorum::without(&learning, "a").is_kept(), "a learner cannot take over");
    }
}
