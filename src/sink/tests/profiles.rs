//! Go's profiles.

use super::super::decode::hash;
use super::*;

const GO: &str = "/skywalking.v3.ProfileTask/goProfileReport";

fn chunk(task: &str, payload: &str, is_last: bool) -> Bytes {
    encoded(&sw::GoProfileData {
        task_id: task.to_owned(),
        payload: payload.as_bytes().to_vec(),
        is_last,
    })
}

#[tokio::test]
async fn chunks_of_a_task_are_put_together_up_to_the_last() {
    let messages = vec![
        chunk("t", "one ", false),
        chunk("u", "other", false),
        chunk("t", "two ", false),
        chunk("t", "three", true),
        chunk("u", "", true),
        chunk("t", "again", true),
    ];
    let (entries, state) = filed(GO, messages).await;
    let of = |task: &str, content: &str| format!("{} {task} -", hash(content.as_bytes()));
    assert_eq!(
        entries,
        expected(&[
            &of("t", "one two three"),
            &of("u", "other"),
            &of("t", "again")
        ])
    );
    assert_eq!(state.unfiled(), 0);
}

#[tokio::test]
async fn a_profile_that_goes_on_in_another_call_is_lost_up_to_there() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let begun = vec![chunk("t", "one ", false), chunk("t", "two ", false)];
    client.call(GO, begun).await.unwrap();
    assert_eq!(sink.snapshot().methods[GO].unfinished, 2);
    assert_eq!(entries(&sink, GO), []);
    client
        .call(GO, vec![chunk("t", "three", true)])
        .await
        .unwrap();
    let rest = format!("{} t -", hash(b"three"));
    assert_eq!(entries(&sink, GO), expected(&[&rest]));
}
