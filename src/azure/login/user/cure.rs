//! What helps where Entra refuses a refresh token.

use super::super::token_endpoint::Refused;

/// What helps where a refresh token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// The person shows more.
    More,
    /// The person signs in anew: the token is of no use any more.
    Anew,
    /// Another account signs in: this one is not known in the tenant.
    Another,
    /// Nothing that the person can do.
    None,
}

impl Cure {
    pub(super) fn of(refused: &Refused) -> Self {
        let asks = [
            "invalid_grant",
            "interaction_required",
            "consent_required",
            "login_required",
        ];
        if !asks.contains(&refused.error.as_str()) {
            return Self::None;
        }
        match refused.number() {
            // The account is of another tenant.
            Some(16_000 | 50_020 | 50_034 | 90_072) => Self::Another,
            // The account is disabled or not assigned, or a policy blocks it.
            Some(50_057 | 50_105 | 53_000..=53_011 | 530_000..=530_099) => Self::None,
            // Expired, revoked, idle for too long, of before a new password, or no token at all.
            Some(
                50_089 | 50_132 | 50_133 | 50_173 | 70_000 | 70_008 | 70_043 | 700_081 | 700_082
                | 700_084 | 9_002_313,
            ) => Self::Anew,
            _ => Self::More,
        }
    }
}

/// Whether the person did not want to sign in. Entra says `access_denied` also where it is Entra
/// that does not want it: then the description has another number.
pub(in super::super) fn has_declined(error: &str, description: &str) -> bool {
    match error {
        "authorization_declined" => true,
        "access_denied" => description.is_empty() || description.contains("AADSTS65004"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entra_may_be_the_one_that_declines() {
        assert!(has_declined("authorization_declined", "AADSTS70018: no"));
        assert!(has_declined("access_denied", "AADSTS65004: no"));
        assert!(has_declined("access_denied", ""));
        assert!(!has_declined("access_denied", "AADSTS90094: no"));
        assert!(!has_declined("expired_token", ""));
    }

    fn cure(error: &str, description: &str) -> Cure {
        Cure::of(&Refused {
            error: error.to_owned(),
            error_description: description.to_owned(),
            claims: None,
        })
    }

    #[test]
    fn a_person_is_asked_only_where_that_helps() {
        for (error, description, expected) in [
            ("invalid_grant", "AADSTS50173: revoked", Cure::Anew),
            ("invalid_grant", "AADSTS700082: idle", Cure::Anew),
            ("invalid_grant", "AADSTS65001: no consent", Cure::More),
            ("invalid_grant", "AADSTS50076: a second factor", Cure::More),
            ("interaction_required", "AADSTS50079: enrol", Cure::More),
            ("invalid_grant", "AADSTS50020: foreign", Cure::Another),
            ("login_required", "", Cure::More),
            ("interaction_required", "AADSTS53003: blocked", Cure::None),
            (
                "invalid_grant",
                "AADSTS530084: token protection",
                Cure::None,
            ),
            ("invalid_client", "AADSTS7000218: no secret", Cure::None),
            ("invalid_resource", "AADSTS500011: unknown", Cure::None),
        ] {
            assert_eq!(cure(error, description), expected, "{description}");
        }
    }
}
