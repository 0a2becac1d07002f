use http::HeaderValue;

use super::*;

fn class(status: u16, code: Option<&str>, is_json: bool) -> Kind {
    classify(StatusCode::from_u16(status).unwrap(), code, is_json).0
}

#[test]
fn every_status_is_classed_once() {
    let table: [(&[u16], Kind); 4] = [
        (&[301, 302, 303, 307, 308], Kind::InvalidResponse),
        (&[400, 401, 403], Kind::Rejected),
        (&[408, 409, 410, 425, 429, 500, 502, 503, 504, 599], Kind::Transient),
        (&[404, 405, 415, 418], Kind::Permanent),
    ];
    for (statuses, expected) in table {
        for status in statuses {
            assert_eq!(class(*status, None, true), expected, "{status}");
            assert_eq!(class(*status, Some("unheard_of"), true), expected, "{status}");
        }
    }
    // A page of a firewall, which does not know the secret.
    assert_eq!(class(403, None, false), Kind::Permanent);
    assert_eq!(class(401, None, false), Kind::Rejected);
}

#[test]
fn a_code_decides_before_the_status() {
    let table: [(&[&str], Kind); 3] = [
        (&["temporarily_unavailable", "server_error", "slow_down"], Kind::Transient),
        (&["invalid_client", "invalid_grant"], Kind::Rejected),
        (
            &[
                "unauthorized_client",
                "unsupported_grant_type",
                "invalid_scope",
                "invalid_target",
                "invalid_request",
                "access_denied",
                "consent_required",
                "invalid_dpop_proof",
            ],
            Kind::Permanent,
        ),
    ];
    for (codes, expected) in table {
        for code in codes {
            for status in [200, 400, 401, 403, 404, 418, 500] {
                assert_eq!(class(status, Some(code), true), expected, "{status} {code}");
            }
            // They say that it is too early, whatever the code makes of that.
            for status in [429, 503] {
                assert_eq!(class(status, Some(code), true), Kind::Transient, "{status} {code}");
            }
            assert_eq!(class(302, Some(code), true), Kind::InvalidResponse);
        }
    }
}

#[test]
fn only_a_wrong_secret_is_blamed_on_the_secret() {
    for status in 300..=599 {
        let status = StatusCode::from_u16(status).unwrap();
        for code in [None, Some("invalid_scope"), Some("server_error"), Some("invalid_client")] {
            for is_json in [true, false] {
                let (kind, advice) = classify(status, code, is_json);
                let blames = advice.contains("the client id and the secret");
                assert!(!blames || kind == Kind::Rejected, "{status} {code:?}: {advice}");
            }
        }
    }
}

#[test]
fn retry_after_is_read_in_both_forms() {
    let now = httpdate::parse_http_date("Tue, 24 Nov 2026 02:44:00 GMT").unwrap();
    let longest = Some(LONGEST_PAUSE.as_secs());
    for (value, expected) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Tue, 24 Nov 2026 02:45:30 GMT", Some(90)),
        ("Tue, 24 Nov 2026 02:43:00 GMT", Some(0)),
        ("soon", None),
        ("-1", None),
        ("+5", None),
        ("", None),
        (".", None),
        ("1.5.5", None),
        ("1.x", None),
        ("2.0", Some(2)),
        ("1.5", Some(2)),
        ("0.000000000001", Some(1)),
        (".5", Some(1)),
        ("7.", Some(7)),
        ("18446744073709551615.1", longest),
        ("99999999999999999999999", longest),
        ("9999999999", longest),
        ("Tue, 24 Nov 2099 02:45:30 GMT", longest),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
        let expected = expected.map(Duration::from_secs);
        assert_eq!(retry_after(&headers, None, now), expected, "{value}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), None, now), None);
}

#[test]
fn slow_down_asks_for_a_pause_of_its_own() {
    let mut headers = HeaderMap::new();
    let pause = |headers: &HeaderMap| {
        retry_after(headers, Some("slow_down"), SystemTime::UNIX_EPOCH).map(|it| it.as_secs())
    };
    assert_eq!(pause(&headers), Some(5));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    assert_eq!(pause(&headers), Some(5));
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
    assert_eq!(pause(&headers), Some(60));
}

#[test]
fn an_error_of_an_endpoint_of_ones_own_is_classed_as_ours_are() {
    let answered = |status, code| {
        AuthError::answered(StatusCode::from_u16(status).unwrap(), code, "why it was so")
    };
    for status in 300..600 {
        let error = answered(status, None);
        assert_eq!(error.kind(), class(status, None, true), "{status}");
        assert_eq!(error.status().map(|it| it.as_u16()), Some(status));
    }
    for (status, code, kind) in [
        (400, "invalid_client", Kind::Rejected),
        (200, "invalid_scope", Kind::Permanent),
        (400, "slow_down", Kind::Transient),
        (401, "unheard_of", Kind::Rejected),
        (429, "access_denied", Kind::Transient),
        (302, "server_error", Kind::InvalidResponse),
    ] {
        let error = answered(status, Some(code));
        assert_eq!(error.kind(), kind, "{status} {code}");
        assert_eq!(error.is_misconfigured(), kind == Kind::Permanent, "{status} {code}");
        assert_eq!(error.code().is_some(), status != 302);
    }
    assert!(answered(200, None).is_invalid_response());
    assert_eq!(answered(200, None).fate(), Fate::Unknown);
    assert!(!answered(404, None).is_misconfigured(), "an address is no scope");
    assert_eq!(answered(429, Some("slow_down")).retry_after(), Some(SLOW_DOWN));
    let odd = answered(400, Some("two\nlines"));
    assert!(odd.code().is_none() && !odd.to_string().contains("lines"), "{odd}");
    let source = std::error::Error::source(&odd).map(ToString::to_string);
    assert_eq!(source.as_deref(), Some("why it was so"));
}
