//! Tests of JSON web tokens, with keys that `openssl` made and tokens as etcd's library makes them.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use super::*;
use crate::auth::{fake::FakeClock, tokens::PasswordGeneration};

const NOW: u64 = 1_800_000_000;
const ALICE: Subject<'_> = Subject {
    user: "alice",
    generation: PasswordGeneration(7),
    revision: AuthRevision(12),
};

/// Key files of every kind, made by `openssl`.
struct KeyFiles(TempDir);

impl KeyFiles {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, words: &str) {
        let output = Command::new("openssl")
            .args(words.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {words}: {said}");
    }

    /// A pair of keys in the forms that `openssl genpkey` writes.
    fn pair(&self, name: &str, kind: &str) {
        self.openssl(&format!("genpkey {kind} -out {name}.key"));
        self.openssl(&format!("pkey -in {name}.key -pubout -out {name}.pub"));
    }
}

fn options(method: JwtMethod, private: Option<PathBuf>, public: Option<PathBuf>) -> JwtOptions {
    JwtOptions {
        public_key: public,
        private_key: private,
        method,
        ttl: Duration::from_secs(600),
    }
}

fn open(options: &JwtOptions) -> (Jwt, FakeClock) {
    let clock = FakeClock::at(NOW);
    (Jwt::open(options, Arc::new(clock.clone())).unwrap(), clock)
}

/// The arguments of `openssl genpkey` for a method.
fn kind(method: JwtMethod) -> &'static str {
    use JwtMethod::*;
    match method {
        Es256 => "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
        Es384 => "-algorithm EC -pkeyopt ec_paramgen_curve:P-384",
        Es512 => "-algorithm EC -pkeyopt ec_paramgen_curve:P-521",
        EdDsa => "-algorithm ED25519",
        _ => "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    }
}

fn claims() -> TokenClaims {
    TokenClaims {
        user: "alice".to_owned(),
        basis: Basis::Revision(AuthRevision(12)),
    }
}

#[test]
fn a_token_of_every_method_is_verified_by_the_public_key_alone() {
    let files = KeyFiles::new();
    files.pair("rsa", kind(JwtMethod::Rs256));
    for (method, name) in JwtMethod::ALL {
        if method.is_symmetric() {
            continue;
        }
        let file = match &name[..2] {
            "RS" | "PS" => "rsa",
            _ => {
                files.pair(name, kind(method));
                name
            }
        };
        let private = Some(files.path(&format!("{file}.key")));
        let public = Some(files.path(&format!("{file}.pub")));
        let (both, _) = open(&options(method, private.clone(), public.clone()));
        let (signer, _) = open(&options(method, private, None));
        let (verifier, _) = open(&options(method, None, public));
        for minted in [both.mint(&ALICE).unwrap(), signer.mint(&ALICE).unwrap()] {
            assert_eq!(verifier.verify(&minted), Ok(claims()), "{name}");
            assert_eq!(signer.verify(&minted), Ok(claims()), "{name}");
        }
        assert_eq!(verifier.mint(&ALICE), Err(MintFault::VerifyOnly), "{name}");
    }
}

#[test]
fn a_shared_key_is_the_bytes_of_its_file() {
    let files = KeyFiles::new();
    std::fs::write(files.path("one"), b"not in PEM \xff").unwrap();
    std::fs::write(files.path("two"), b"another").unwrap();
    for method in [JwtMethod::Hs256, JwtMethod::Hs384, JwtMethod::Hs512] {
        let (one, _) = open(&options(method, Some(files.path("one")), None));
        let (two, _) = open(&options(method, Some(files.path("two")), None));
        let minted = one.mint(&ALICE).unwrap();
        assert_eq!(one.verify(&minted), Ok(claims()));
        assert_eq!(two.verify(&minted), Err(TokenFault::Forged));
    }
    std::fs::write(files.path("none"), b"").unwrap();
    let empty = options(JwtMethod::Hs256, Some(files.path("none")), None);
    let fault = Jwt::open(&empty, Arc::new(FakeClock::default())).unwrap_err();
    assert!(fault.to_string().contains("is empty"), "{fault}");
}

#[test]
fn older_forms_of_key_files_are_read() {
    let files = KeyFiles::new();
    files.openssl("genrsa -traditional -out rsa.key 2048");
    files.openssl("rsa -in rsa.key -RSAPublicKey_out -out rsa.pub");
    let pair = |name: &str| {
        let path = |end| Some(files.path(&format!("{name}.{end}")));
        (path("key"), path("pub"))
    };
    let (private, public) = pair("rsa");
    let (jwt, _) = open(&options(JwtMethod::Ps256, private, public));
    assert_eq!(jwt.verify(&jwt.mint(&ALICE).unwrap()), Ok(claims()));
    // The file begins with a block about the curve.
    files.openssl("ecparam -name secp521r1 -genkey -out ec.key");
    files.openssl("ec -in ec.key -pubout -out ec.pub");
    let (private, public) = pair("ec");
    let (jwt, _) = open(&options(JwtMethod::Es512, private, public));
    assert_eq!(jwt.verify(&jwt.mint(&ALICE).unwrap()), Ok(claims()));
}

#[test]
fn a_certificate_is_read_as_its_public_key() {
    let files = KeyFiles::new();
    for (name, method) in [
        ("rsa", JwtMethod::Rs256),
        ("p256", JwtMethod::Es256),
        ("p384", JwtMethod::Es384),
        ("p521", JwtMethod::Es512),
        ("ed", JwtMethod::EdDsa),
    ] {
        files.pair(name, kind(method));
        let subject = "-x509 -subj /CN=tokens -days 1";
        files.openssl(&format!("req {subject} -key {name}.key -out {name}.crt"));
        let path = |end: &str| Some(files.path(&format!("{name}.{end}")));
        let (signer, _) = open(&options(method, path("key"), path("crt")));
        let (verifier, _) = open(&options(method, None, path("crt")));
        let minted = signer.mint(&ALICE).unwrap();
        assert_eq!(verifier.verify(&minted), Ok(claims()), "{name}");
    }
    // A certificate for a key of another kind.
    let wrong = options(JwtMethod::Es256, None, Some(files.path("rsa.crt")));
    let fault = Jwt::open(&wrong, Arc::new(FakeClock::default())).unwrap_err();
    assert!(fault.to_string().contains("curve P-256"), "{fault}");
}

#[test]
fn keys_that_do_not_fit_are_refused_at_the_start() {
    let files = KeyFiles::new();
    files.pair("one", kind(Es256));
    files.pair("two", kind(Es256));
    files.pair("small", "-algorithm RSA -pkeyopt rsa_keygen_bits:1024");
    std::fs::write(files.path("text"), "no key").unwrap();
    let path = |name: &str| Some(files.path(name));
    use JwtMethod::*;
    for (method, private, public, expected) in [
        (
            Es256,
            path("one.key"),
            path("two.pub"),
            "are not of one pair",
        ),
        (
            Es384,
            path("one.key"),
            None,
            "is not a key on the curve P-384",
        ),
        (Es256, None, path("one.key"), "the pub-key"),
        (Es256, path("one.pub"), None, "the priv-key"),
        (
            Rs256,
            path("one.key"),
            None,
            "is not an RSA key of 2048 bits or more",
        ),
        (
            Rs256,
            None,
            path("small.pub"),
            "is not an RSA key of 2048 bits or more",
        ),
        (
            Rs256,
            path("small.key"),
            None,
            "is not an RSA key of 2048 bits or more",
        ),
        (EdDsa, path("one.key"), None, "is not an Ed25519 key"),
        (EdDsa, None, path("text"), "is not an Ed25519 key"),
        (EdDsa, None, path("missing"), "cannot read the pub-key"),
        (Hs256, path("missing"), None, "cannot read the priv-key"),
    ] {
        let opened = Jwt::open(
            &options(method, private, public),
            Arc::new(FakeClock::default()),
        );
        let said = opened.unwrap_err().to_string();
        let start = "auth: invalid auth options: --auth-token: ";
        assert!(said.starts_with(start) && said.contains(expected), "{said}");
    }
}

/// A verifier with a shared key, and what makes tokens with it.
struct Forge {
    jwt: Jwt,
    clock: FakeClock,
    _files: KeyFiles,
}

impl Forge {
    fn new() -> Self {
        let files = KeyFiles::new();
        std::fs::write(files.path("key"), b"shared").unwrap();
        let (jwt, clock) = open(&options(JwtMethod::Hs256, Some(files.path("key")), None));
        Self {
            jwt,
            clock,
            _files: files,
        }
    }

    fn token(&self, header: &str, claims: &str) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims)
        );
        let signature = self.jwt.keys.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, claims: &str) -> Result<TokenClaims, TokenFault> {
        let token = self.token(r#"{"alg":"HS256","typ":"JWT"}"#, claims);
        self.jwt.verify(&token)
    }
}

#[test]
fn a_token_lives_until_the_end_that_it_names() {
    let it = Forge::new();
    let token = it.jwt.mint(&ALICE).unwrap();
    it.clock.advance(Duration::from_secs(599));
    assert_eq!(it.jwt.verify(&token), Ok(claims()));
    it.clock.advance(Duration::from_secs(1));
    assert_eq!(it.jwt.verify(&token), Err(TokenFault::Expired));
}

#[test]
fn claims_are_read_as_other_libraries_write_them() {
    let it = Forge::new();
    for text in [
        r#"{"exp":1800000600,"revision":12,"username":"alice"}"#,
        r#"{"username":"alice","revision":1.2e1,"exp":1800000600.5,"iss":"us","aud":["a"]}"#,
        r#"{"username":"alice","revision":12.0,"exp":1.8000006e9,"nbf":1799999999}"#,
    ] {
        assert_eq!(it.verify(text), Ok(claims()), "{text}");
    }
    for (text, fault) in [
        (
            r#"{"revision":12,"username":"alice"}"#,
            TokenFault::Malformed,
        ),
        (
            r#"{"exp":1800000600,"username":"alice"}"#,
            TokenFault::Malformed,
        ),
        (r#"{"exp":1800000600,"revision":12}"#, TokenFault::Malformed),
        (
            r#"{"exp":1800000600,"revision":12,"username":""}"#,
            TokenFault::Malformed,
        ),
        (
            r#"{"exp":1800000600,"revision":12.5,"username":"a"}"#,
            TokenFault::Malformed,
        ),
        (
            r#"{"exp":1800000600,"revision":-1,"username":"a"}"#,
            TokenFault::Malformed,
        ),
        (
            r#"{"exp":"1800000600","revision":12,"username":"a"}"#,
            TokenFault::Malformed,
        ),
        (
            r#"{"exp":1800000600,"revision":1,"revision":2,"username":"a"}"#,
            TokenFault::Malformed,
        ),
        (
            r#"{"exp":1799999999,"revision":12,"username":"a"}"#,
            TokenFault::Expired,
        ),
        (
            r#"{"exp":1800000600,"nbf":1800000001,"revision":12,"username":"a"}"#,
            TokenFault::Expired,
        ),
        ("[]", TokenFault::Malformed),
    ] {
        assert_eq!(it.verify(text), Err(fault), "{text}");
    }
}

#[test]
fn only_the_configured_method_is_accepted() {
    let it = Forge::new();
    let text = r#"{"exp":1800000600,"revision":12,"username":"alice"}"#;
    for (header, fault) in [
        (r#"{"alg":"none"}"#, TokenFault::Forged),
        (r#"{"alg":"HS512"}"#, TokenFault::Forged),
        (r#"{"alg":"hs256"}"#, TokenFault::Forged),
        (r#"{"typ":"JWT"}"#, TokenFault::Malformed),
        (r#"{"alg":"HS256","crit":["exp"]}"#, TokenFault::Malformed),
        ("", TokenFault::Malformed),
    ] {
        let token = it.token(header, text);
        assert_eq!(it.jwt.verify(&token), Err(fault), "{header}");
    }
    let unsigned = it.token(r#"{"alg":"HS256"}"#, text);
    let (signed, _) = unsigned.rsplit_once('.').unwrap();
    let without = it.jwt.verify(&format!("{signed}."));
    assert_eq!(without, Err(TokenFault::Forged));
}

/// The public key of the members is known to many; used as a shared key it must open nothing.
#[test]
fn a_token_sealed_with_the_public_key_is_refused() {
    let files = KeyFiles::new();
    files.pair("rsa", kind(JwtMethod::Rs256));
    let public = files.path("rsa.pub");
    let (verifier, _) = open(&options(JwtMethod::Rs256, None, Some(public.clone())));
    let (forger, _) = open(&options(JwtMethod::Hs256, Some(public), None));
    let token = forger.mint(&ALICE).unwrap();
    assert_eq!(verifier.verify(&token), Err(TokenFault::Forged));
    let (_, rest) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
    let renamed = format!("{header}.{rest}");
    assert_eq!(verifier.verify(&renamed), Err(TokenFault::Forged));
}

#[test]
fn text_that_is_no_token_is_refused() {
    let it = Forge::new();
    for text in ["", ".", "..", "...", "a.b.c", "e30.e30.e30", "é.é.é"] {
        assert_eq!(it.jwt.verify(text), Err(TokenFault::Malformed), "{text:?}");
    }
}

#[test]
fn keys_are_not_shown() {
    let it = Forge::new();
    assert!(!format!("{:?}", it.jwt).contains("shared"));
}
