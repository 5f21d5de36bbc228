//! Which keys a layer needs.

use libverity::certificate::Certificate;

use super::judge::{Candidate, Judge, Standing};

/// Says which keys have signed a layer, and which of them it cannot do without.
#[derive(Clone, Debug)]
pub struct LayerCoverage {
    /// Where the layer stands with all of its signatures.
    pub standing: Standing,
    /// The keys with a good signature, each once.
    pub keys: Vec<KeyCoverage>,
}

/// Says what a key does for a layer.
#[derive(Clone, Debug)]
pub struct KeyCoverage {
    /// The certificate of the key, or the first of several.
    pub certificate: Certificate,
    /// Whether the layer would be refused without this key's signatures.
    pub is_needed: bool,
}

impl Judge<'_> {
    /// Finds out which keys protect a layer: what becomes of it without each of them.
    pub fn coverage(&self, candidates: &[Candidate<'_>]) -> LayerCoverage {
        let verdict = self.layer(candidates);
        let signer = |number: usize| {
            let signature = verdict.signatures.get(number)?;
            let is_good = signature.standing == Standing::Signed;
            signature.signer.as_ref().filter(|_| is_good).map(|signer| &signer.certificate)
        };
        let mut keys: Vec<KeyCoverage> = Vec::new();
        for certificate in (0..candidates.len()).filter_map(signer) {
            let key = certificate.derived_key_identifier();
            let is_key = |certificate: &Certificate| certificate.derived_key_identifier() == key;
            if keys.iter().any(|known| is_key(&known.certificate)) {
                continue;
            }
            let others: Vec<_> = candidates
                .iter()
                .enumerate()
                .filter(|(number, _)| !signer(*number).is_some_and(is_key))
                .map(|(_, candidate)| *candidate)
                .collect();
            let is_needed = verdict.standing == Standing::Signed
                && self.layer(&others).standing != Standing::Signed;
            keys.push(KeyCoverage { certificate: certificate.clone(), is_needed });
        }
        LayerCoverage { standing: verdict.standing, keys }
    }
}
