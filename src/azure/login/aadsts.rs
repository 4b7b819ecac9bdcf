//! Entra's numbered refusals that people meet: what is the matter, and what to do.
//!
//! `docs/sign-in.md` has the same table; a test keeps them equal.

/// One of Entra's refusals.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// What follows `AADSTS`.
    number: u32,
    /// What is the matter, in plain words.
    pub(super) cause: &'static str,
    /// What to do.
    pub(super) fix: &'static str,
}

/// The refusal that `sentence`, Entra's own, tells of, if it is one that people meet.
pub(super) fn explain(sentence: &str) -> Option<&'static Refusal> {
    let number = number(sentence)?;
    TABLE.iter().find(|refusal| refusal.number == number)
}

/// The number of the AADSTS code in `text`.
pub(super) fn number(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("AADSTS")?;
    rest.split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

const fn refusal(number: u32, cause: &'static str, fix: &'static str) -> Refusal {
    Refusal { number, cause, fix }
}

/// In the order of the numbers.
const TABLE: [Refusal; 19] = [
    refusal(
        50_020,
        "the account is of another tenant, and no guest in this one",
        "sign in with an account of the tenant: `az login --tenant TENANT`, --auth browser or --auth device-code; AZURE_TENANT_ID names another tenant",
    ),
    refusal(
        50_034,
        "the user is not in this tenant",
        "check the tenant: AZURE_TENANT_ID, or `az login --tenant TENANT`",
    ),
    refusal(
        50_076,
        "the tenant wants a second factor for this",
        "sign in interactively: `az login --scope 6256c85f-0aad-4d50-b960-e6e9b21efe35/.default`, or --auth browser; or sign in as a service principal",
    ),
    refusal(
        50_079,
        "the tenant wants a second factor, and the user has registered none",
        "register one at https://aka.ms/mfasetup, then sign in interactively: `az login`, or --auth browser",
    ),
    refusal(
        50_105,
        "the application is open only to those who are assigned to it, and the caller is not",
        "ask an administrator to assign you to the application that the message names",
    ),
    refusal(
        50_173,
        "the sign-in was revoked, as after a change of the password",
        "sign in again: `az login`, or `arcproxy logout` before --auth browser or --auth device-code",
    ),
    refusal(
        53_003,
        "a conditional access policy of the tenant forbids this sign-in from here",
        "try from a device or network that the policy allows, or ask an administrator which policy it was: the sign-in log has it under the correlation id that --debug shows",
    ),
    refusal(
        65_001,
        "nobody has consented that the application may act for the user",
        "sign in interactively once and consent: --auth browser; or ask an administrator to consent for the tenant",
    ),
    refusal(
        70_043,
        "the sign-in is too old for a policy of the tenant",
        "sign in again: `az login`, --auth browser or --auth device-code",
    ),
    refusal(
        90_002,
        "there is no such tenant in this cloud",
        "check AZURE_TENANT_ID, and --cloud if the tenant is of another cloud",
    ),
    refusal(
        90_033,
        "Entra has a fault that passes",
        "try again in a minute",
    ),
    refusal(
        500_011,
        "the cluster's server application is not known in this tenant",
        "check AZURE_TENANT_ID; if it is right, an administrator adds the application once: `az ad sp create --id 6256c85f-0aad-4d50-b960-e6e9b21efe35`",
    ),
    refusal(
        530_084,
        "a token protection policy of the tenant takes only sign-ins that are bound to a registered device",
        "sign in as a service principal, use a Kubernetes service-account token with --token-file, or ask an administrator to leave this application out of the policy",
    ),
    refusal(
        700_016,
        "the application is not known in this tenant",
        "check AZURE_CLIENT_ID, and that the application is in the tenant of AZURE_TENANT_ID",
    ),
    refusal(
        700_024,
        "the assertion is too old, or this machine's clock is wrong",
        "check the clock; in a pipeline let arcproxy ask for a fresh assertion each time: --auth github or --auth azure-pipelines",
    ),
    refusal(
        700_027,
        "the certificate is not one of the application's",
        "upload the certificate to the application: `az ad app credential reset --id APP --cert @FILE --append`",
    ),
    refusal(
        700_213,
        "no federated credential of the application fits the assertion's subject",
        "compare the subject in the message with the application's: `az ad app federated-credential list --id APP`",
    ),
    refusal(
        7_000_215,
        "AZURE_CLIENT_SECRET is not the application's secret",
        "set the secret's value, not its id",
    ),
    refusal(
        7_000_222,
        "the application's secret has expired",
        "make a new one for AZURE_CLIENT_SECRET: `az ad app credential reset --id APP`",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    const DOCS: &str = include_str!("../../../docs/sign-in.md");

    #[test]
    fn the_number_is_read_whole() {
        let found = |sentence| explain(sentence).map(|refusal| refusal.number);
        assert_eq!(found("AADSTS7000215: no."), Some(7_000_215));
        assert_eq!(found("invalid_grant: AADSTS50076: Due to"), Some(50_076));
        assert_eq!(found("AADSTS90002"), Some(90_002));
        assert_eq!(found("AADSTS5007: no"), None);
        assert_eq!(found("AADSTS500761: no"), None);
        assert_eq!(found("no"), None);
        assert_eq!(found("AADSTS: no"), None);
        assert_eq!(found("AADSTS99999999999: no"), None);
    }

    #[test]
    fn every_number_that_people_meet_has_a_cause_and_a_fix() {
        for number in [
            7_000_215, 700_016, 700_024, 50_076, 50_079, 53_003, 65_001, 90_002, 500_011, 50_173,
            530_084,
        ] {
            assert!(
                TABLE.iter().any(|refusal| refusal.number == number),
                "{number}"
            );
        }
        for Refusal { number, cause, fix } in &TABLE {
            assert!(cause.len() > 10 && fix.len() > 10, "{number}");
        }
        assert!(TABLE.is_sorted_by_key(|refusal| refusal.number));
    }

    #[test]
    fn the_documents_have_the_same_table() {
        let documented: Vec<_> = DOCS
            .lines()
            .filter(|line| line.starts_with("| AADSTS"))
            .collect();
        let table: Vec<_> = TABLE
            .iter()
            .map(|Refusal { number, cause, fix }| format!("| AADSTS{number} | {cause} | {fix} |"))
            .collect();
        assert_eq!(documented, table);
    }
}
