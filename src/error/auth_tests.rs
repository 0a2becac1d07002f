use super::*;

#[test]
fn each_kind_answers_its_predicates() {
    let table = [
        (Kind::Transient, [true, false, false, false, false]),
        (Kind::Unresolved, [true, false, false, false, false]),
        (Kind::Timeout, [true, false, false, false, false]),
        (Kind::Interrupted, [true, false, false, false, false]),
        (Kind::RuntimeGone, [true, false, false, false, false]),
        (Kind::Rejected, [false, true, false, false, false]),
        (Kind::InvalidResponse, [false, false, true, false, false]),
        (Kind::Expired, [false, false, true, false, false]),
        (Kind::Credentials, [false, false, false, true, false]),
        (Kind::CoolingDown, [true, false, false, false, false]),
        (Kind::StoreDown, [true, false, false, false, false]),
        (Kind::NoRuntime, [false, false, false, false, false]),
        (Kind::NoTimers, [false, false, false, false, false]),
        (Kind::RefusedOrigin, [false, false, false, false, false]),
        (Kind::Permanent, [false, false, false, false, true]),
    ];
    for (kind, expected) in table {
        let error = AuthError::new(kind, "x");
        let actual = [
            error.is_transient(),
            error.is_rejected(),
            error.is_invalid_response(),
            error.is_credentials(),
            error.is_permanent(),
        ];
        assert_eq!(actual, expected, "{kind:?}");
    }
}
