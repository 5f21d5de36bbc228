//! Lists that come in pages.

use reqwest::Url;
use reqwest::header::LINK;

use super::answer::{Answer, shown_url};
use super::error::RegistryError;

/// Returns the next page of a list, if there is one.
///
/// Source: OCI distribution specification, "Listing Tags" and "Listing Referrers"; RFC 8288.
///
/// # Errors
///
/// Returns an error if the page is not the registry's own: it could see our authorisation, or say
/// of the image what the registry does not.
pub(super) fn next(answer: &Answer) -> Result<Option<Url>, RegistryError> {
    let links = answer.headers().get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    let Some(target) = links.flat_map(|links| links.split(',')).find_map(next_target) else {
        return Ok(None);
    };
    let here = answer.full_url();
    match here.join(target) {
        Ok(url) if url.origin() == here.origin() => Ok(Some(url)),
        Ok(url) => Err(answer.nonsense(format!("its next page is elsewhere: {}", shown_url(&url)))),
        Err(_) => Err(answer.nonsense("its next page is no web address")),
    }
}

/// Returns the target of a link if its relation is `next`.
fn next_target(link: &str) -> Option<&str> {
    let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = parameters.split(';').any(|parameter| {
        parameter.trim().split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        })
    });
    is_next.then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_next_pages_are_read() {
        assert_eq!(next_target(r#"</v2/a?n=2>; rel="next""#), Some("/v2/a?n=2"));
        assert_eq!(next_target(r#" <b> ; x=y; REL=next"#), Some("b"));
        for other in [r#"<a>; rel="prev""#, "<a>", "a; rel=next", "<a; rel=next", ""] {
            assert_eq!(next_target(other), None, "{other}");
        }
    }
}
