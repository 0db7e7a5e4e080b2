use kafka_protocol::messages::{
    BrokerId,
    metadata_response::{MetadataResponseBroker, MetadataResponsePartition},
};

use super::{
    super::config::{ProducerSettings, Properties, Role},
    *,
};

const NOW: Time = Time::from_ms(1_000_000);
/// Leader epochs are reliable from this version on.
const RELIABLE: i16 = 9;

fn orders() -> TopicName {
    TopicName(StrBytes::from_static_str("orders"))
}

fn metadata(library: Library) -> Metadata {
    let properties =
        Properties::parse(library, Role::Producer, "bootstrap.servers=a:1").expect("properties");
    let settings = ProducerSettings::new(&properties).expect("settings").common;
    let mut metadata = Metadata::new(&settings, Rng::with_seed(7));
    metadata.add_topic(&orders());
    metadata
}

/// Two brokers, one topic with one partition.
fn described(id: u128, leader: i32, epoch: i32) -> MetadataResponse {
    let brokers = [1, 2].map(|id| MetadataResponseBroker::default().with_node_id(BrokerId(id)));
    let partition = MetadataResponsePartition::default()
        .with_leader_id(BrokerId(leader))
        .with_leader_epoch(epoch);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(orders()))
        .with_topic_id(Uuid::from_u128(id))
        .with_partitions(vec![partition]);
    MetadataResponse::default().with_brokers(brokers.into()).with_topics(vec![topic])
}

/// The leader that is believed in after one description and then another.
fn second(library: Library, first: (u128, i32, i32), then: (u128, i32, i32), version: i16) -> i32 {
    let mut metadata = metadata(library);
    metadata.update(NOW, RELIABLE, described(first.0, first.1, first.2), false);
    metadata.update(NOW, version, described(then.0, then.1, then.2), false);
    metadata.leader(&orders(), 0).expect("a leader").0
}

#[test]
fn a_lower_epoch_is_ignored_where_the_topic_is_the_same_or_has_no_id() {
    for library in [Library::Java, Library::Librdkafka] {
        assert_eq!(second(library, (5, 1, 6), (5, 2, 0), RELIABLE), 1, "{library:?}, same id");
        assert_eq!(second(library, (0, 1, 6), (0, 2, 0), RELIABLE), 1, "{library:?}, no id");
        assert_eq!(second(library, (5, 1, 6), (5, 2, 6), RELIABLE), 2, "{library:?}, same epoch");
    }
}

#[test]
fn java_believes_a_lower_epoch_where_the_topic_id_has_changed() {
    assert_eq!(second(Library::Java, (5, 1, 6), (9, 2, 0), RELIABLE), 2);
}

#[test]
fn no_epoch_or_an_old_version_of_metadata_clears_what_java_remembers() {
    assert_eq!(second(Library::Java, (5, 1, 6), (5, 2, -1), RELIABLE), 2);
    assert_eq!(second(Library::Java, (5, 1, 6), (5, 2, 0), 8), 2);
    let mut metadata = metadata(Library::Java);
    metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
    metadata.update(NOW, RELIABLE, described(5, 1, -1), false);
    assert_eq!(metadata.last_epoch(&orders(), 0), None);
}

#[test]
fn java_forgets_the_id_at_a_rebootstrap_and_keeps_the_epoch() {
    for (id, expected) in [(5, Some((2, Some(0)))), (0, None)] {
        let mut metadata = metadata(Library::Java);
        metadata.update(NOW, RELIABLE, described(id, 1, 6), false);
        metadata.rebootstrap(NOW, vec![-1]);
        assert_eq!(metadata.last_epoch(&orders(), 0), Some(6));
        metadata.update(NOW, RELIABLE, described(id, 2, 0), false);
        assert_eq!(metadata.leader(&orders(), 0), expected, "id {id}");
    }
}

#[test]
fn librdkafka_keeps_leaders_over_a_rebootstrap_and_forgets_them_with_their_broker() {
    let mut metadata = metadata(Library::Librdkafka);
    metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
    metadata.rebootstrap(NOW, vec![-1]);
    assert_eq!(metadata.leader(&orders(), 0), Some((1, Some(6))));
    let lower = described(7, 2, 0);
    assert!(metadata.update(NOW, RELIABLE, lower.clone(), false).stale_ignored);
    assert_eq!(metadata.leader(&orders(), 0), Some((1, Some(6))), "its node is listed");
    let mut without = lower;
    without.brokers.retain(|broker| broker.node_id.0 != 1);
    metadata.update(NOW, RELIABLE, without.clone(), false);
    assert_eq!(metadata.leader(&orders(), 0), None);
    metadata.update(NOW, RELIABLE, without, false);
    assert_eq!(metadata.leader(&orders(), 0), Some((2, Some(0))));
}

#[test]
fn a_leader_named_in_an_answer_is_believed_if_it_is_newer_and_known() {
    let mut metadata = metadata(Library::Java);
    metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
    assert!(!metadata.heard_of_leader(&orders(), 0, 2, 6), "not newer");
    assert!(!metadata.heard_of_leader(&orders(), 0, 3, 7), "nobody knows node 3");
    assert!(metadata.heard_of_leader(&orders(), 0, 2, 7));
    assert_eq!(metadata.leader(&orders(), 0), Some((2, Some(7))));
}

#[test]
fn a_newer_epoch_that_was_heard_of_makes_the_leader_unknown_until_it_is_described() {
    let mut metadata = metadata(Library::Java);
    metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
    metadata.heard_of_epoch(&orders(), 0, 7);
    assert_eq!(metadata.leader(&orders(), 0), None);
    metadata.update(NOW, RELIABLE, described(5, 2, 7), false);
    assert_eq!(metadata.leader(&orders(), 0), Some((2, Some(7))));
}

#[test]
fn what_is_known_ages_and_what_proved_wrong_is_asked_again_after_a_backoff() {
    let mut metadata = metadata(Library::Java);
    assert_eq!(metadata.next_update(), Some(Time::default()), "at once");
    metadata.start(NOW);
    assert_eq!(metadata.next_update(), None, "one is under way");
    metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
    assert_eq!(metadata.next_update(), Some(NOW + Duration::from_mins(5)));
    metadata.request_update();
    let wait = metadata.next_update().expect("requested").since(NOW);
    assert!(wait >= Duration::from_millis(80) && wait <= Duration::from_millis(120), "{wait:?}");
    // Answers that bring nothing new make the client more patient, up to a second.
    for _ in 0..6 {
        metadata.start(NOW);
        metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
        metadata.request_update();
    }
    let wait = metadata.next_update().expect("requested").since(NOW);
    assert!(wait > Duration::from_millis(790), "{wait:?}");
}

#[test]
fn a_new_topic_alone_is_asked_for_and_the_rest_stays_known() {
    let mut metadata = metadata(Library::Java);
    metadata.start(NOW);
    metadata.update(NOW, RELIABLE, described(5, 1, 6), false);
    metadata.add_topic(&TopicName(StrBytes::from_static_str("payments")));
    let wanted = metadata.start(NOW);
    assert!(wanted.partial);
    let names = wanted.request.topics.expect("some").into_iter().filter_map(|it| it.name);
    assert_eq!(names.map(|it| it.0.to_string()).collect::<Vec<_>>(), ["payments"]);
    metadata.update(NOW, RELIABLE, MetadataResponse::default(), true);
    assert!(metadata.topic(&orders()).is_some());
}
