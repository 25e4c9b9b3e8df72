//! Tests of all providers through [`Tokens`].

use std::time::Duration;

use super::*;
use crate::auth::fake::{CountingEntropy, FakeClock};

const TTL: Duration = Duration::from_secs(300);
const ALICE: Subject<'_> = Subject {
    user: "alice",
    generation: PasswordGeneration(7),
    revision: AuthRevision(12),
};

struct Fixture {
    tokens: Tokens,
    clock: FakeClock,
    secret: TokenSecret,
}

impl Fixture {
    fn of(provider: &TokenProvider) -> Self {
        let clock = FakeClock::at(1_000);
        Self {
            tokens: tokens(provider, &clock),
            clock,
            secret: TokenSecret::new([3; 32]),
        }
    }

    fn now(&self) -> ClusterTime {
        cluster_time(&self.clock)
    }

    fn mint(&self) -> String {
        let token = self.tokens.mint(&ALICE, &self.secret, self.now());
        token.unwrap().reveal().to_owned()
    }

    fn verify(&self, token: &str) -> Result<TokenClaims, TokenFault> {
        self.tokens.verify(token, &self.secret, self.now())
    }
}

fn tokens(provider: &TokenProvider, clock: &FakeClock) -> Tokens {
    let entropy = Arc::new(CountingEntropy::default());
    let (clock, wall_clock) = (Arc::new(clock.clone()), Arc::new(clock.clone()));
    Tokens::open(provider, clock, wall_clock, entropy).unwrap()
}

fn cluster_time(clock: &FakeClock) -> ClusterTime {
    let millis = Clock::now(clock).as_millis();
    ClusterTime(millis.try_into().unwrap())
}

fn alice() -> TokenClaims {
    TokenClaims {
        user: "alice".to_owned(),
        basis: Basis::Password(PasswordGeneration(7)),
    }
}

const SIGNED: TokenProvider = TokenProvider::Signed { ttl: TTL };
const SIMPLE: TokenProvider = TokenProvider::Simple { ttl: TTL };

#[test]
fn a_sealed_token_says_who_logged_in_and_under_which_password() {
    for provider in [SIGNED, SIMPLE] {
        let it = Fixture::of(&provider);
        let token = it.mint();
        assert_eq!(it.verify(&token), Ok(alice()), "{provider:?}");
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        assert!(
            token.bytes().all(fits),
            "safe in a header and a URL: {token}"
        );
    }
}

#[test]
fn a_signed_token_ends_its_ttl_after_its_issue() {
    let it = Fixture::of(&SIGNED);
    let token = it.mint();
    it.clock.advance(TTL - Duration::from_millis(1));
    assert_eq!(it.verify(&token), Ok(alice()));
    it.clock.advance(Duration::from_millis(1));
    assert_eq!(it.verify(&token), Err(TokenFault::Expired));
}

#[test]
fn a_simple_token_lives_while_it_is_used() {
    let it = Fixture::of(&SIMPLE);
    let token = it.mint();
    for _ in 0..5 {
        it.clock.advance(TTL - Duration::from_secs(1));
        assert_eq!(it.verify(&token), Ok(alice()));
    }
    it.clock.advance(TTL);
    assert_eq!(it.verify(&token), Err(TokenFault::Expired));
    assert_eq!(it.verify(&token), Err(TokenFault::Expired), "it stays dead");
}

#[test]
fn an_expired_simple_token_stays_dead_where_cluster_time_stands_still() {
    let it = Fixture::of(&SIMPLE);
    let issued = it.now();
    let token = it.mint();
    it.clock.advance(TTL);
    for _ in 0..2 {
        let verified = it.tokens.verify(&token, &it.secret, issued);
        assert_eq!(verified, Err(TokenFault::Expired));
    }
}

#[test]
fn another_member_takes_a_simple_token_within_its_ttl_and_lengthens_it_there() {
    let it = Fixture::of(&SIMPLE);
    let other = tokens(&SIMPLE, &it.clock);
    let late = tokens(&SIMPLE, &it.clock);
    let token = it.mint();
    it.clock.advance(TTL / 2);
    let verify = |tokens: &Tokens| tokens.verify(&token, &it.secret, it.now());
    assert_eq!(verify(&other), Ok(alice()));
    it.clock.advance(TTL / 2);
    assert_eq!(verify(&other), Ok(alice()), "it was used here");
    assert_eq!(verify(&late), Err(TokenFault::Expired), "never seen here");
}

#[test]
fn two_simple_tokens_of_one_moment_differ_and_begin_as_etcds_do() {
    let it = Fixture::of(&SIMPLE);
    let (one, two) = (it.mint(), it.mint());
    assert_ne!(one, two);
    let (letters, _) = one.split_once('.').unwrap();
    assert_eq!(letters.len(), 16);
    assert!(letters.bytes().all(|byte| byte.is_ascii_alphabetic()));
}

#[test]
fn a_token_dies_with_the_secret_of_its_cluster() {
    for provider in [SIGNED, SIMPLE] {
        let it = Fixture::of(&provider);
        let token = it.mint();
        let other = TokenSecret::new([4; 32]);
        let verified = it.tokens.verify(&token, &other, it.now());
        assert_eq!(verified, Err(TokenFault::Forged), "{provider:?}");
    }
}

#[test]
fn a_token_with_any_bit_changed_is_refused() {
    for provider in [SIGNED, SIMPLE] {
        let it = Fixture::of(&provider);
        let token = it.mint();
        for position in 0..token.len() {
            for replacement in ['A', 'b', '.', '='] {
                let mut changed: Vec<char> = token.chars().collect();
                if changed[position] == replacement {
                    continue;
                }
                changed[position] = replacement;
                let changed = String::from_iter(changed);
                assert!(it.verify(&changed).is_err(), "{changed} for {token}");
            }
        }
        for end in 0..token.len() {
            assert!(it.verify(&token[..end]).is_err(), "{}", &token[..end]);
        }
        assert!(it.verify(&format!("{token}A")).is_err());
    }
}

#[test]
fn a_token_of_one_provider_is_none_for_another() {
    let (signed, simple) = (Fixture::of(&SIGNED), Fixture::of(&SIMPLE));
    assert_eq!(simple.verify(&signed.mint()), Err(TokenFault::Malformed));
    assert_eq!(signed.verify(&simple.mint()), Err(TokenFault::Malformed));
    // The seal covers the head, so a token cannot change sides with another one.
    let token = signed.mint();
    let (_, body) = token.split_once('.').unwrap();
    let renamed = format!("abcdefghijklmnop.{body}");
    assert_eq!(simple.verify(&renamed), Err(TokenFault::Forged));
}

#[test]
fn text_that_is_no_token_is_refused_by_every_provider() {
    let long = "a".repeat(TOKEN_BYTES_MAX + 1);
    let big = format!("tenure1.{}", "A".repeat(TOKEN_BYTES_MAX - 8));
    for provider in [SIGNED, SIMPLE] {
        let it = Fixture::of(&provider);
        for text in [
            "",
            ".",
            "..",
            "tenure1.",
            "tenure1.AAAA",
            "zBhZzFqKfVktCWyR.49",
            "é.é",
        ] {
            assert_eq!(it.verify(text), Err(TokenFault::Malformed), "{text:?}");
        }
        assert_eq!(it.verify(&long), Err(TokenFault::TooLong));
        assert!(it.verify(&big).is_err());
    }
}

#[test]
fn a_seal_over_other_content_is_not_enough() {
    let it = Fixture::of(&SIGNED);
    let user = |user: &str| sealed::Content {
        time: ClusterTime(u64::MAX),
        generation: PasswordGeneration(1),
        user: user.to_owned(),
    };
    let nameless = sealed::seal("tenure1", &user(""), &it.secret);
    assert_eq!(it.verify(&nameless), Err(TokenFault::Malformed));
    let named = sealed::seal("tenure1", &user("bob"), &it.secret);
    assert_eq!(it.verify(&named).unwrap().user, "bob");
    let other_head = sealed::seal("tenure2", &user("bob"), &it.secret);
    assert_eq!(it.verify(&other_head), Err(TokenFault::Malformed));
}

#[test]
fn the_form_of_a_signed_token_stays_as_it_is() {
    let it = Fixture::of(&SIGNED);
    // Made once, kept: a later version must still read it.
    let golden = include_str!("golden_signed_token.txt").trim_end();
    assert_eq!(it.mint(), golden);
}

#[test]
fn with_tokens_off_none_is_issued_or_accepted() {
    let it = Fixture::of(&TokenProvider::Off);
    let minted = it.tokens.mint(&ALICE, &it.secret, it.now());
    assert_eq!(minted.unwrap_err(), MintFault::Off);
    assert_eq!(it.verify("a.b"), Err(TokenFault::Off));
}

#[test]
fn a_name_that_no_token_can_carry_gets_none() {
    let it = Fixture::of(&SIGNED);
    let name = "n".repeat(USER_BYTES_MAX + 1);
    let subject = Subject {
        user: &name,
        ..ALICE
    };
    let minted = it.tokens.mint(&subject, &it.secret, it.now());
    assert_eq!(minted.unwrap_err(), MintFault::NameTooLong);
    let subject = Subject {
        user: &name[1..],
        ..ALICE
    };
    let minted = it.tokens.mint(&subject, &it.secret, it.now()).unwrap();
    assert!(it.verify(minted.reveal()).is_ok());
}

#[test]
fn tokens_and_secrets_are_not_shown() {
    let it = Fixture::of(&SIMPLE);
    let token = it.tokens.mint(&ALICE, &it.secret, it.now()).unwrap();
    assert_eq!(format!("{token:?}"), "Token(…)");
    assert_eq!(format!("{:?}", it.secret), "TokenSecret(…)");
    assert!(!format!("{:?}", it.tokens).contains(token.reveal()));
}
