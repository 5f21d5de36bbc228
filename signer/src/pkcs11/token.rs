//! What is found in tokens: the token itself, a key, its certificate.

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use cryptoki::slot::{Slot, TokenInfo};
use libverity::certificate::Certificate;

use super::PRIVATE_KEY;
use super::error::Pkcs11Error;
use super::uri::{TokenAttributes, Uri};

/// Is a token that was looked for.
pub(super) struct Found {
    pub(super) slot: Slot,
    pub(super) label: String,
    pub(super) login_required: bool,
    pub(super) protected_authentication_path: bool,
    pub(super) pin_locked: bool,
}

/// Finds the one token that has the attributes.
pub(super) fn find(module: &Pkcs11, wanted: &TokenAttributes) -> Result<Found, Pkcs11Error> {
    let slots = module.get_slots_with_token().map_err(Pkcs11Error::call("list the slots"))?;
    let mut all = Vec::new();
    for slot in slots {
        let info = module.get_token_info(slot).map_err(Pkcs11Error::call("say what it is"))?;
        if info.token_initialized() {
            all.push((slot, info));
        }
    }
    let name = |(slot, info): &(Slot, TokenInfo)| {
        format!("token={} (serial={}, slot-id={})", info.label(), info.serial_number(), slot.id())
    };
    let fitting: Vec<_> = all.iter().filter(|(slot, info)| fits(wanted, slot.id(), info)).collect();
    match fitting[..] {
        [] => Err(Pkcs11Error::TokenMissing { found: all.iter().map(name).collect() }),
        [(slot, info)] => Ok(Found {
            slot: *slot,
            label: info.label().to_owned(),
            login_required: info.login_required(),
            protected_authentication_path: info.protected_authentication_path(),
            pin_locked: info.user_pin_locked(),
        }),
        _ => Err(Pkcs11Error::AmbiguousToken { found: fitting.into_iter().map(name).collect() }),
    }
}

fn fits(wanted: &TokenAttributes, slot_id: u64, info: &TokenInfo) -> bool {
    let is =
        |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|text| text == found);
    is(&wanted.label, info.label())
        && is(&wanted.manufacturer, info.manufacturer_id())
        && is(&wanted.model, info.model())
        && is(&wanted.serial, info.serial_number())
        && wanted.slot_id.is_none_or(|wanted| wanted == slot_id)
}

/// Finds the one private key that the URI names.
pub(super) fn find_key(
    session: &Session,
    uri: &Uri,
    token: &str,
) -> Result<ObjectHandle, Pkcs11Error> {
    let find = |template: &[Attribute]| {
        session.find_objects(template).map_err(Pkcs11Error::call("look for keys"))
    };
    let mut template = vec![PRIVATE_KEY];
    template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.clone().into())));
    template.extend(uri.id.clone().map(Attribute::Id));
    let names = |keys: &[ObjectHandle]| keys.iter().map(|&key| name(session, key)).collect();
    let token = || token.to_owned();
    match find(&template)?[..] {
        [] => {
            let found = names(&find(&[PRIVATE_KEY])?);
            Err(Pkcs11Error::KeyMissing { token: token(), found })
        }
        [key] => Ok(key),
        ref several => Err(Pkcs11Error::AmbiguousKey { token: token(), found: names(several) }),
    }
}

/// Finds the certificate with the identifier of a key, or else with its label.
pub(super) fn certificate_of(
    session: &Session,
    key: ObjectHandle,
    token: &str,
) -> Result<Certificate, Pkcs11Error> {
    let class = Attribute::Class(ObjectClass::CERTIFICATE);
    for place in places(session, key) {
        let template = [class.clone(), place];
        let found =
            session.find_objects(&template).map_err(Pkcs11Error::call("look for certificates"))?;
        let Some(&object) = found.first() else { continue };
        let value = session
            .get_attributes(object, &[AttributeType::Value])
            .map_err(Pkcs11Error::call("read the certificate"))?;
        if let Some(Attribute::Value(der)) = value.into_iter().next() {
            return Certificate::from_der(&der)
                .map_err(|source| Pkcs11Error::Certificate { token: token.to_owned(), source });
        }
    }
    Err(Pkcs11Error::CertificateMissing { token: token.to_owned() })
}

/// Returns the point of the public key beside an EC key, where the token has it.
pub(super) fn ec_point(session: &Session, key: ObjectHandle) -> Option<Vec<u8>> {
    let class = Attribute::Class(ObjectClass::PUBLIC_KEY);
    let place = places(session, key).into_iter().next()?;
    let public = *session.find_objects(&[class, place]).ok()?.first()?;
    let attributes = session.get_attributes(public, &[AttributeType::EcPoint]).ok()?;
    let Some(Attribute::EcPoint(encoding)) = attributes.into_iter().next() else { return None };
    // A DER OCTET STRING; some tokens leave its header out.
    Some(match encoding.as_slice() {
        [0x04, 0x81, length, point @ ..] if point.len() == usize::from(*length) => point.to_vec(),
        [0x04, length, point @ ..] if point.len() == usize::from(*length) => point.to_vec(),
        _ => encoding,
    })
}

/// Returns what a key's certificate and public key have in common with it, the surest first.
fn places(session: &Session, key: ObjectHandle) -> Vec<Attribute> {
    [AttributeType::Id, AttributeType::Label]
        .into_iter()
        .filter_map(|attribute| session.get_attributes(key, &[attribute]).ok()?.into_iter().next())
        .filter(|attribute| match attribute {
            Attribute::Id(bytes) | Attribute::Label(bytes) => !bytes.is_empty(),
            _ => false,
        })
        .collect()
}

/// Names a key as a URI would.
fn name(session: &Session, key: ObjectHandle) -> String {
    let mut parts = Vec::new();
    for attribute in places(session, key) {
        match attribute {
            Attribute::Id(bytes) => {
                let digits = bytes.iter().map(|byte| format!("%{byte:02x}"));
                parts.push(format!("id={}", digits.collect::<String>()));
            }
            Attribute::Label(bytes) => {
                let label = String::from_utf8_lossy(&bytes).escape_debug().to_string();
                parts.insert(0, format!("object={label}"));
            }
            _ => {}
        }
    }
    if parts.is_empty() { "one without a name".to_owned() } else { parts.join(";") }
}
