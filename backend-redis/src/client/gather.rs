//! Copies small values into one buffer.

use bytes::{Bytes, BytesMut};

use super::{Failure, Reply};

/// The maximum size of a value that is copied.
const SMALL: usize = 1 << 10;

/// Copies the small values of a batch into one buffer. Each was allocated by the connection's thread and would be
/// freed by its reader's thread. At 100,000 values a second, the allocator's locks cost more than the copy.
pub(super) fn gather(answers: &mut [Result<Reply, Failure>]) {
    let (mut count, mut size) = (0, 0);
    small(answers, &mut |bytes| (count, size) = (count + 1, size + bytes.len()));
    if count < 2 {
        return;
    }
    let mut all = BytesMut::with_capacity(size);
    small(answers, &mut |bytes| all.extend_from_slice(bytes));
    let mut all = all.freeze();
    small(answers, &mut |bytes| *bytes = all.split_to(bytes.len()));
}

fn small(answers: &mut [Result<Reply, Failure>], each: &mut impl FnMut(&mut Bytes)) {
    answers.iter_mut().flatten().for_each(|reply| small_of(reply, each));
}

fn small_of(reply: &mut Reply, each: &mut impl FnMut(&mut Bytes)) {
    match reply {
        Reply::Bytes(bytes) if bytes.len() <= SMALL => each(bytes),
        Reply::List(replies) => replies.iter_mut().for_each(|reply| small_of(reply, each)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stay_what_they_are() {
        let large = Bytes::from(vec![7; SMALL + 1]);
        let list = vec![
            Reply::Bytes("a".into()),
            Reply::Nil,
            Reply::Bytes("bc".into()),
            Reply::Bytes(large.clone()),
        ];
        let answers = [Ok(Reply::Bytes("d".into())), Ok(Reply::List(list)), Ok(Reply::Number(1))];
        let mut gathered = answers.clone();
        gather(&mut gathered);
        for (gathered, answer) in gathered.iter().zip(&answers) {
            assert_eq!(gathered.as_ref().ok(), answer.as_ref().ok());
        }
        let Ok(Reply::List(list)) = &gathered[1] else { panic!("{:?}", gathered[1]) };
        assert!(
            matches!(&list[3], Reply::Bytes(bytes) if bytes.as_ptr() == large.as_ptr()),
            "large ones are not copied"
        );
    }
}
