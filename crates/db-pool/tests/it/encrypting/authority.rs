//! Certificates of every kind that a server or a client can show.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PKCS_RSA_SHA512,
    SignatureAlgorithm, date_time_ymd,
};

/// A certificate and its key, in PEM.
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        Authority::signing_with(name, KeyPair::generate().unwrap())
    }

    /// One whose signatures are of this kind.
    pub(super) fn signing_as(algorithm: &'static SignatureAlgorithm) -> Self {
        Authority::signing_with("an authority of another kind", KeyPair::generate_for(algorithm).unwrap())
    }

    /// One that signs with RSA and SHA-512, with a key that is good for nothing else.
    pub(super) fn rsa_sha512() -> Self {
        let key = include_str!("rsa-2048.pem");
        Authority::signing_with("rsa", KeyPair::from_pem_and_sign_algo(key, &PKCS_RSA_SHA512).unwrap())
    }

    fn signing_with(name: &str, key: KeyPair) -> Self {
        let mut params = called(name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these hosts.
    pub(super) fn issue(&self, hosts: &[&str]) -> Issued {
        self.sign(called("server", hosts))
    }

    /// A certificate for these hosts that was valid a long time ago.
    pub(super) fn issue_expired(&self, hosts: &[&str]) -> Issued {
        self.sign(long_ago(called("server", hosts)))
    }

    /// A certificate for a user of the database.
    pub(super) fn issue_to(&self, user: &str) -> Issued {
        self.sign(called(user, &[]))
    }

    fn sign(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

/// What `openssl req -x509` makes: its own authority.
pub(super) fn self_signed(hosts: &[&str]) -> Issued {
    sign_oneself(called("server", hosts))
}

pub(super) fn self_signed_expired(hosts: &[&str]) -> Issued {
    sign_oneself(long_ago(called("server", hosts)))
}

fn sign_oneself(mut params: CertificateParams) -> Issued {
    let key = KeyPair::generate().unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issued { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn long_ago(mut params: CertificateParams) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    params
}

fn called(name: &str, hosts: &[&str]) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
