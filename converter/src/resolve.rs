//! Turns hyperparameters into what a `.ink` file states: the spec, and the rotary frequencies.

use inkstone_model::spec::{Activation, LayerSpec, MAX_HEAD_WIDTH, Spec};

use crate::arch;
use crate::config::{Config, Scaling};
use crate::error::{Result, over_limit, unsupported};

/// Everything about a model that its tensors do not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// What holds for the whole model.
    pub spec: Spec,
    /// What holds for each layer.
    pub layers: Vec<LayerSpec>,
    /// Rotary frequencies, half a head each: of layers without a window, and of those with one
    /// where they have their own.
    pub ropes: [Option<Vec<f32>>; 2],
}

impl Resolved {
    /// From checked hyperparameters, the rows of the embedding, and the divisors of the rotary
    /// frequencies where a checkpoint brings them.
    ///
    /// # Errors
    /// The model needs what the runtime cannot do, or is larger than it allows.
    pub fn new(config: &Config, vocabulary: u64, divisors: Option<&[f32]>) -> Result<Self> {
        if config.rope.dims != config.head_dim {
            let (dims, head) = (config.rope.dims, config.head_dim);
            return Err(unsupported(format!("only {dims} of {head} elements turn")));
        }
        if config.head_dim > MAX_HEAD_WIDTH.into() {
            return Err(over_limit(format!("heads of {}", config.head_dim)));
        }
        let own_ropes = config.rope.local_base != config.rope.base || !config.rope.scales_local;
        let layers: Vec<LayerSpec> = config
            .windowed
            .iter()
            .map(|&windowed| layer(config, windowed, own_ropes))
            .collect::<Result<_>>()?;
        let used = |table: u32| layers.iter().any(|layer| layer.rope == table);
        let global = frequencies(config, config.rope.base, config.rope.scaling, divisors)?;
        let local = frequencies(config, config.rope.local_base, Scaling::None, None)?;
        Ok(Self {
            spec: Spec {
                vocabulary: small(vocabulary)?,
                width: small(config.width)?,
                layers: small(config.layers)?,
                context: small(config.context)?,
                eps: config.norm_eps,
                embedding_scale: config.embedding_scale.unwrap_or(1.0),
                logit_scale: 1.0,
                logit_cap: config.logit_cap,
                activation: match config.arch.activation {
                    arch::Activation::Silu => Activation::Silu,
                    arch::Activation::GeluTanh => Activation::GeluTanh,
                },
            },
            ropes: [used(0).then_some(global), used(1).then_some(local)],
            layers,
        })
    }

    /// The spec section of a file.
    #[must_use]
    pub fn section(&self) -> Vec<u8> {
        let layers = self.layers.iter().flat_map(LayerSpec::to_bytes);
        self.spec.to_bytes().into_iter().chain(layers).collect()
    }
}

fn layer(config: &Config, windowed: bool, own_ropes: bool) -> Result<LayerSpec> {
    let window = config.window.filter(|_| windowed);
    Ok(LayerSpec {
        heads: small(config.heads)?,
        kv_heads: small(config.kv_heads)?,
        head_width: small(config.head_dim)?,
        ffn_width: small(config.ffn_width)?,
        window: window.map(small).transpose()?,
        rope: u32::from(windowed && own_ropes),
        score_scale: config.score_scale,
        score_cap: config.score_cap,
    })
}

fn small(size: u64) -> Result<u32> {
    size.try_into()
        .map_err(|_| over_limit(format!("a size of {size}")))
}

/// `base^(-2i / dims)`, stretched; each step in f64, the result rounded once.
fn frequencies(
    config: &Config,
    base: f32,
    scaling: Scaling,
    divisors: Option<&[f32]>,
) -> Result<Vec<f32>> {
    let half = config.rope.dims / 2;
    if divisors.is_some_and(|d| d.len() as u64 != half || d.iter().any(|v| v.is_nan() || *v < 1e-6))
    {
        return Err(unsupported(format!(
            "divisors of {half} rotary frequencies"
        )));
    }
    let frequency = |i: u64| {
        let exponent = -2.0 * i as f64 / config.rope.dims as f64;
        let plain = libm::pow(base.into(), exponent);
        let divisor = divisors.map_or(1.0, |d| d[i as usize].into());
        (stretch(plain, scaling) / divisor) as f32
    };
    Ok((0..half).map(frequency).collect())
}

/// Llama 3.1's rule: `transformers`, `_compute_llama3_parameters`.
fn stretch(frequency: f64, scaling: Scaling) -> f64 {
    match scaling {
        Scaling::None => frequency,
        Scaling::Linear { factor } => frequency / f64::from(factor),
        Scaling::Llama3 {
            factor,
            low,
            high,
            original,
        } => {
            let turns = f64::from(original) * frequency / core::f64::consts::TAU;
            let (low, high) = (f64::from(low), f64::from(high));
            let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
            frequency * kept + frequency / f64::from(factor) * (1.0 - kept)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llama2c::Header;

    fn config() -> Config {
        Config::from_llama2c(&Header {
            width: 256,
            ffn_width: 64,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            vocab: 100,
            tied: true,
            context: 64,
        })
        .unwrap()
    }

    #[test]
    fn frequencies_fall_from_one_to_nearly_the_inverse_base() {
        let resolved = Resolved::new(&config(), 100, None).unwrap();
        let [Some(global), None] = &resolved.ropes else {
            panic!()
        };
        assert_eq!((global.len(), global[0]), (64, 1.0));
        assert_eq!(global[32], 0.01);
        assert_eq!(resolved.section().len(), 48 + 2 * 40);
        assert_eq!(resolved.layers[0].rope, 0);
    }

    #[test]
    fn llama_3_keeps_high_frequencies_and_divides_low_ones() {
        let mut config = config();
        config.rope.base = 500_000.0;
        let plain = Resolved::new(&config, 100, None).unwrap().ropes;
        config.rope.scaling = Scaling::Llama3 {
            factor: 8.0,
            low: 1.0,
            high: 4.0,
            original: 8192.0,
        };
        let scaled = Resolved::new(&config, 100, None).unwrap().ropes;
        let ([Some(plain), _], [Some(scaled), _]) = (plain, scaled) else {
            panic!()
        };
        assert_eq!(scaled[..28], plain[..28]);
        for i in 36..64 {
            assert!((scaled[i] * 8.0 / plain[i] - 1.0).abs() < 1e-6);
        }
        assert!((29..35).all(|i| scaled[i] < plain[i] && scaled[i] > plain[i] / 8.0));
    }

    #[test]
    fn windowed_layers_take_the_second_table() {
        let mut config = config();
        config.rope.base = 1e6;
        config.rope.scales_local = false;
        config.rope.scaling = Scaling::Linear { factor: 8.0 };
        config.window = Some(16);
        config.windowed = vec![true, false];
        let resolved = Resolved::new(&config, 100, None).unwrap();
        let [Some(global), Some(local)] = &resolved.ropes else {
            panic!()
        };
        assert_eq!((global[0], local[0]), (0.125, 1.0));
        assert_eq!((resolved.layers[0].rope, resolved.layers[1].rope), (1, 0));
        assert_eq!(
            (resolved.layers[0].window, resolved.layers[1].window),
            (Some(16), None)
        );
    }

    #[test]
    fn divisors_must_fit_and_be_positive() {
        let config = config();
        let divided = Resolved::new(&config, 100, Some(&[2.0; 64])).unwrap();
        assert_eq!(divided.ropes[0].as_ref().unwrap()[0], 0.5);
        Resolved::new(&config, 100, Some(&[2.0; 63])).unwrap_err();
        Resolved::new(&config, 100, Some(&[0.0; 64])).unwrap_err();
        Resolved::new(&config, 100, Some(&[f32::NAN; 64])).unwrap_err();
    }
}
