use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::*;

fn spec(holder: &str, renewed: i64) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(holder.to_owned()),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(Timestamp::from_second(renewed).unwrap())),
        ..LeaseSpec::default()
    }
}

#[test]
fn a_lease_expires_when_nobody_has_changed_it_for_its_duration_as_seen_here() {
    let (start, wall) = (Instant::now(), Timestamp::from_second(0).unwrap());
    let mut observed = None;
    let mut at = |seconds, renewed| {
        let now = start + Duration::from_secs(seconds);
        attempt(&mut observed, Some(&spec("other", renewed)), "me", now, wall)
    };
    // Its own time of renewal is long past, or in the future: another clock, which proves nothing.
    assert_eq!(at(0, -1000), Attempt::Wait);
    assert_eq!(at(14, -1000), Attempt::Wait);
    assert_eq!(at(14, -998), Attempt::Wait, "renewed");
    assert_eq!(at(28, -998), Attempt::Wait);
    assert!(matches!(at(29, -998), Attempt::Write(spec) if spec.lease_transitions == Some(1)));
}

#[test]
fn what_is_free_or_mine_is_taken_at_once() {
    let (now, wall) = (Instant::now(), Timestamp::from_second(0).unwrap());
    for seen in [None, Some(spec("", 0)), Some(spec("me", 0))] {
        let decided = attempt(&mut None, seen.as_ref(), "me", now, wall);
        assert!(matches!(decided, Attempt::Write(spec) if spec.holder_identity.as_deref() == Some("me")));
    }
}

/// A client whose requests are never answered, and how many there were.
fn silent() -> (Client, watch::Receiver<u32>) {
    let (sent, count) = watch::channel(0);
    let service = tower::service_fn(move |_: Request<Body>| {
        sent.send_modify(|count| *count += 1);
        std::future::pending::<Result<http::Response<Body>, kube::Error>>()
    });
    (Client::new(service, "default"), count)
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_does_not_outlive_the_claim_that_it_was_made_with() {
    let (client, sent) = silent();
    let (claims, claim) = watch::channel(Claim::default());
    let fenced: Api<Lease> = Api::namespaced(fenced(&client, claim), "here");
    let refused = fenced.get("x").await.unwrap_err();
    assert!(refused.to_string().contains(&Forfeit::NotHeld.to_string()), "{refused}");
    assert_eq!(*sent.borrow(), 0);

    claims.send_replace(Claim { until: Some(Instant::now() + CLAIM) });
    let given_up = tokio::time::timeout(DURATION, fenced.get("x")).await.unwrap().unwrap_err();
    assert!(given_up.to_string().contains(&Forfeit::RanOut.to_string()), "{given_up}");
    assert_eq!(*sent.borrow(), 1);
}

#[test]
fn a_holder_stops_before_anybody_else_begins() {
    let start = Instant::now();
    let claim = Claim { until: Some(start + CLAIM) };
    assert!(claim.holds(start + Duration::from_secs(9)));
    assert!(!claim.holds(start + Duration::from_secs(10)));
    // Whoever saw the renewal later than it began waits even longer.
    assert!(CLAIM + RETRY < DURATION);
    assert!(crate::deadline::DEADLINE < DURATION);
    assert!(!Claim::default().holds(start));
}

#[test]
fn a_lease_that_is_older_than_before_is_of_another_history() {
    let of = |version: &str, holder, renewed| Lease {
        metadata: ObjectMeta { resource_version: Some(version.to_owned()), ..ObjectMeta::default() },
        spec: Some(spec(holder, renewed)),
    };
    let remembers = || {
        let mut memory = Memory::default();
        // Clocks of holders differ.
        for (version, holder, renewed) in [("5", "a", 7), ("5", "a", 7), ("12", "a", 9), ("100", "b", 4)] {
            assert!(memory.goes_on(&of(version, holder, renewed)), "{version}");
        }
        memory
    };
    assert!(remembers().goes_on(&of("101", "b", 6)));
    assert!(!remembers().goes_on(&of("99", "a", 9)), "an earlier version");
    assert!(
        !remembers().goes_on(&of("101", "b", 3)),
        "others have written since, so that versions are later again"
    );
    let mut told = of("101", "b", 6);
    told.metadata.annotations = Some([(HISTORY.to_owned(), "c".to_owned())].into());
    assert!(!remembers().goes_on(&told), "another replica has seen an earlier one");
}
