//! A head and a token table that a config says are one tensor.

use super::tensors::Tensors;

/// Leaves one tensor under the name of the table where the file has it under either name or, alike, under both. Where the two differ, both stay:
/// then it is the first row that differs.
///
/// # Errors
/// When one of two cannot be read, or has another shape.
pub(super) fn tied(
    tensors: &mut Tensors,
    head: &str,
    table: &str,
    shape: [usize; 2],
) -> Result<Option<usize>, String> {
    if !tensors.has(head) {
        return Ok(None);
    }
    if !tensors.has(table) {
        tensors.rename(head, table);
        return Ok(None);
    }
    let of_head = tensors.read(head, &shape)?;
    let of_table = tensors.read(table, &shape)?;
    let differs = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
    let apart = of_head.iter().zip(&of_table).position(differs);
    if apart.is_none() {
        tensors.drop(head);
    }
    Ok(apart.map(|index| index / shape[1]))
}
