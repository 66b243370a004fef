//! Questions about many things at once, of which one can make the answer fail for all.

/// What is asked all at once, and where what is stored makes that fail, by halves until whose it is stands alone: a question about many must not fail
/// for the sake of one.
pub(crate) struct Pieces<'a, Q>(Vec<&'a [Q]>);

impl<'a, Q> Pieces<'a, Q> {
    pub fn of(questions: &'a [Q]) -> Self {
        Self(vec![questions])
    }

    /// The next to ask, in the order of the questions. It comes to its end: two pieces are put back only for one of more than one question.
    pub fn next(&mut self) -> Option<&'a [Q]> {
        self.0.pop()
    }

    /// Puts the halves of a piece back; `false` when it is one question alone.
    pub fn halve(&mut self, piece: &'a [Q]) -> bool {
        let (first, second) = piece.split_at(piece.len() / 2);
        if piece.len() > 1 {
            self.0.extend([second, first]);
        }
        piece.len() > 1
    }
}
