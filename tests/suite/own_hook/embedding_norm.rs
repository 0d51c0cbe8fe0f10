//! How long the vectors are that stand for tokens: the mean L2 norm of the rows of each model's token embedding.

use milepost::prelude::*;

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {}

struct EmbeddingNorm;

/// `embedding-norm`.
pub fn kind() -> Kind {
    Kind::new(
        "embedding-norm",
        "mean L2 norm of the rows of each model's token embedding",
        |_: Options| EmbeddingNorm,
    )
    .row("norm of a token's embedding, main", "embedding_norm/main")
}

impl Hook for EmbeddingNorm {
    fn at_milestone(&mut self, context: &mut Context) -> Result<()> {
        for role in Role::BOTH {
            let mut table = TokenTable::default();
            context.pair().get(role).visit(&mut table);
            context.scalar(format!("embedding_norm/{role}"), table.mean_norm);
        }
        Ok(())
    }
}

/// Visits every parameter and measures `wte.weight`, `[vocab, width]`.
#[derive(Default)]
struct TokenTable {
    path: Vec<String>,
    mean_norm: f64,
}

impl ModuleVisitor for TokenTable {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.path == ["wte", "weight"] {
            let norms = param.val().square().sum_dim(D - 1).sqrt();
            self.mean_norm = f64::from(norms.mean().into_scalar::<f32>());
        }
    }
}

#[cfg(test)]
mod tests {
    use milepost::hook::testing::{Bench, changed};

    use super::*;

    #[test]
    fn the_norm_is_that_of_a_slow_sum() -> Result<()> {
        let bench = Bench::new()?;
        let reported = bench.run(&kind(), "", [0, 2])?;
        let (name, table) = named_parameters(&bench.pair_at(2).main).swap_remove(0);
        assert_eq!(name, "wte.weight");
        let weights: Vec<f64> = table.iter::<f64>().collect();
        let rows = weights.chunks(128);
        let norms = rows.map(|row| row.iter().map(|w| w * w).sum::<f64>().sqrt());
        let expected = norms.sum::<f64>() / 2048.0;
        let found = reported.scalar("embedding_norm/main", 2)?;
        assert!((found - expected).abs() < 1e-4, "{found}, {expected}");
        Ok(())
    }

    #[test]
    fn a_row_of_ones_is_as_long_as_the_root_of_its_width() -> Result<()> {
        let bench = Bench::new()?;
        let pair = bench.pair_at(0);
        let ones = |model: &Network| changed(model, |_, _, _| 1.0);
        let bench = bench.pair(Pair::new(ones(&pair.main), ones(&pair.assistant))?)?;
        let reported = bench.run(&kind(), "", [0])?;
        let found = reported.scalar("embedding_norm/assistant", 0)?;
        assert!((found - 8.0).abs() < 1e-6, "{found}");
        Ok(())
    }
}
