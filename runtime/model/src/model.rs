//! A file whose tensors fit its spec.

use inkstone_format::{File, SectionKind};
use inkstone_quant::PANEL;

use crate::spec::{LayerSpec, Spec, SpecError};
use crate::weights::*;

/// A checked model: every tensor the forward pass needs is there, with the shape its spec asks for.
#[derive(Clone, Copy)]
pub struct Model<'a> {
    file: File<'a>,
    section: &'a [u8],
    spec: Spec,
    beside: &'a [Beside],
}

/// Why a file is not a model.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ModelError {
    /// No `Spec` section.
    NoSpec,
    /// The `Spec` section is malformed.
    Spec(SpecError),
    /// A tensor is missing.
    Missing {
        /// Layer, or [`NO_LAYER`].
        layer: u16,
        /// The role's name.
        role: &'static str,
    },
    /// A matrix that is multiplied does not stand in panels of 16 rows, or a vector is not plain F32.
    Layout {
        /// Layer, or [`NO_LAYER`].
        layer: u16,
        /// The role's name.
        role: &'static str,
    },
    /// What stands beside the file is for a place that the model does not have.
    Nowhere {
        /// Layer, or [`NO_LAYER`].
        layer: u16,
        /// The role's name.
        role: &'static str,
    },
    /// A tensor has another shape than its spec asks for.
    Shape {
        /// Layer, or [`NO_LAYER`].
        layer: u16,
        /// The role's name.
        role: &'static str,
        /// Rows and inputs in the file.
        found: (u32, u32),
        /// Rows and inputs wanted.
        wanted: (u32, u32),
    },
}

impl core::fmt::Display for ModelError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let place = |f: &mut core::fmt::Formatter<'_>, layer: u16, role: &str| match layer {
            NO_LAYER => write!(f, "tensor {role}"),
            _ => write!(f, "tensor {role} of layer {layer}"),
        };
        match *self {
            ModelError::NoSpec => write!(f, "the file has no spec section"),
            ModelError::Spec(e) => e.fmt(f),
            ModelError::Missing { layer, role } => {
                place(f, layer, role)?;
                write!(f, " is missing")
            }
            ModelError::Layout { layer, role } => {
                place(f, layer, role)?;
                write!(f, " has a layout that cannot be used there")
            }
            ModelError::Nowhere { layer, role } => {
                place(f, layer, role)?;
                write!(f, " has no place in the model")
            }
            ModelError::Shape {
                layer,
                role,
                found,
                wanted,
            } => {
                place(f, layer, role)?;
                write!(
                    f,
                    " is {} × {}, wanted {} × {}",
                    found.0, found.1, wanted.0, wanted.1
                )
            }
        }
    }
}

impl core::error::Error for ModelError {}

impl From<SpecError> for ModelError {
    fn from(e: SpecError) -> Self {
        ModelError::Spec(e)
    }
}

impl<'a> Model<'a> {
    /// Checks that `file` holds a whole model. Touches its tables only.
    ///
    /// # Errors
    /// The first thing that is missing or misshapen.
    pub fn new(file: File<'a>) -> Result<Model<'a>, ModelError> {
        Model::with(file, &[])
    }

    /// As [`Self::new`], with adapters that stand beside the file in place of its own, ascending by layer, then role.
    ///
    /// # Errors
    /// As there.
    pub fn with(file: File<'a>, beside: &'a [Beside]) -> Result<Model<'a>, ModelError> {
        let section = file.section(SectionKind::Spec).ok_or(ModelError::NoSpec)?;
        let model = Model {
            file,
            section,
            spec: Spec::parse(section)?,
            beside,
        };
        beside
            .iter()
            .try_for_each(|beside| model.has_place(beside))?;
        model.find_weights()?;
        for layer in 0..model.spec.layers {
            model.find_layer(layer)?;
        }
        Ok(model)
    }

    fn has_place(&self, &Beside { layer, role, .. }: &Beside) -> Result<(), ModelError> {
        let per_layer = ROLES.iter().find(|r| r.id == role).map(|r| r.per_layer);
        let has = match per_layer {
            Some(true) => u32::from(layer) < self.spec.layers,
            Some(false) => layer == NO_LAYER,
            None => false,
        };
        let role = name(role);
        has.then_some(()).ok_or(ModelError::Nowhere { layer, role })
    }

    /// The file.
    pub fn file(&self) -> File<'a> {
        self.file
    }

    /// The model's numbers.
    pub fn spec(&self) -> Spec {
        self.spec
    }

    /// The layer's numbers.
    pub fn layer_spec(&self, layer: u32) -> LayerSpec {
        LayerSpec::parse(self.section, layer).expect("`new` has read every layer's record")
    }

    /// What the layers share.
    pub fn weights(&self) -> Weights<Matrix> {
        self.find_weights().expect("`new` has found them")
    }

    /// The weights of a layer.
    pub fn layer(&self, layer: u32) -> Layer<Matrix> {
        self.find_layer(layer).expect("`new` has found them")
    }

    fn find_weights(&self) -> Result<Weights<Matrix>, ModelError> {
        let Spec {
            vocabulary, width, ..
        } = self.spec;
        let find = Find {
            file: &self.file,
            beside: self.beside,
            layer: NO_LAYER,
        };
        let head = find.optional(HEAD, |role| find.panels(role, vocabulary, width))?;
        // A tied head multiplies the embedding, so that it must stand in panels; else it may be row-major.
        let embed = match head {
            Some(_) => find.matrix(EMBED, vocabulary, width)?,
            None => find.panels(EMBED, vocabulary, width)?,
        };
        Ok(Weights {
            embed,
            final_norm: find.vector(FINAL_NORM, width)?,
            head,
            rope: [self.find_rope(ROPE_0, 0)?, self.find_rope(ROPE_1, 1)?],
        })
    }

    /// The rope table that layers with `rope == index` need; absent where none does.
    fn find_rope(&self, role: u16, index: u32) -> Result<Option<Matrix>, ModelError> {
        let find = Find {
            file: &self.file,
            beside: self.beside,
            layer: NO_LAYER,
        };
        let mut found = None;
        for layer in 0..self.spec.layers {
            let spec = LayerSpec::parse(self.section, layer)?;
            if spec.rope == index {
                found = Some(find.vector(role, spec.head_width / 2)?);
            }
        }
        Ok(found)
    }

    fn find_layer(&self, layer: u32) -> Result<Layer<Matrix>, ModelError> {
        let spec = LayerSpec::parse(self.section, layer)?;
        let width = self.spec.width;
        let (heads, kv) = (
            spec.heads * spec.head_width,
            spec.kv_heads * spec.head_width,
        );
        let find = Find {
            file: &self.file,
            beside: self.beside,
            layer: layer as u16,
        };
        let vector = |role, n| find.optional(role, |role| find.vector(role, n));
        Ok(Layer {
            mixer_norm: find.vector(MIXER_NORM, width)?,
            attention: Attention {
                q: find.linear(Q_ROLES, heads, width)?,
                k: find.linear(K_ROLES, kv, width)?,
                v: find.linear(V_ROLES, kv, width)?,
                o: find.linear(O_ROLES, width, heads)?,
                q_norm: vector(Q_NORM, spec.head_width)?,
                k_norm: vector(K_NORM, spec.head_width)?,
            },
            mixer_post_norm: vector(MIXER_POST_NORM, width)?,
            ffn_norm: find.vector(FFN_NORM, width)?,
            ffn: Gated {
                gate: find.linear(GATE_ROLES, spec.ffn_width, width)?,
                up: find.linear(UP_ROLES, spec.ffn_width, width)?,
                down: find.linear(DOWN_ROLES, width, spec.ffn_width)?,
            },
            ffn_post_norm: vector(FFN_POST_NORM, width)?,
        })
    }
}

struct Find<'a> {
    file: &'a File<'a>,
    beside: &'a [Beside],
    layer: u16,
}

impl Find<'_> {
    fn optional(
        &self,
        role: u16,
        find: impl Fn(u16) -> Result<Matrix, ModelError>,
    ) -> Result<Option<Matrix>, ModelError> {
        match self.file.tensor(self.layer, role) {
            Some(_) => find(role).map(Some),
            None => Ok(None),
        }
    }

    /// A matrix, and what stands beside it.
    #[inline(never)]
    fn linear(
        &self,
        roles: LinearRoles,
        rows: u32,
        inputs: u32,
    ) -> Result<Linear<Matrix>, ModelError> {
        let [weight, bias, a, b] = roles;
        Ok(Linear {
            weight: self.panels(weight, rows, inputs)?,
            bias: self.optional(bias, |role| self.vector(role, rows))?,
            adapter: match self.rank(a) {
                Some(rank) => Some(Adapter {
                    a: self.plain(a, rank, inputs)?,
                    b: self.plain(b, rows, rank)?,
                }),
                None => None,
            },
        })
    }

    /// Rows of a thin matrix, where there is one.
    fn rank(&self, role: u16) -> Option<u32> {
        match self.beside(role) {
            Some(matrix) => Some(matrix.rows as u32),
            None => Some(self.file.tensor(self.layer, role)?.rows),
        }
    }

    /// What stands beside the file.
    fn beside(&self, role: u16) -> Option<&Matrix> {
        let key = |b: &Beside| (b.layer, b.role);
        let at = self.beside.binary_search_by_key(&(self.layer, role), key);
        at.ok().map(|at| &self.beside[at].matrix)
    }

    /// A matrix of F32 in panels of 16 rows.
    fn plain(&self, role: u16, rows: u32, inputs: u32) -> Result<Matrix, ModelError> {
        let found = self.panels(role, rows, inputs)?;
        if found.format.id == 0 {
            return Ok(found);
        }
        Err(ModelError::Layout {
            layer: self.layer,
            role: name(role),
        })
    }

    /// A matrix in panels of 16 rows.
    fn panels(&self, role: u16, rows: u32, inputs: u32) -> Result<Matrix, ModelError> {
        let found = self.matrix(role, rows, inputs)?;
        if found.panel_rows == PANEL {
            return Ok(found);
        }
        Err(ModelError::Layout {
            layer: self.layer,
            role: name(role),
        })
    }

    /// A vector of `n` F32 numbers.
    fn vector(&self, role: u16, n: u32) -> Result<Matrix, ModelError> {
        let found = self.matrix(role, 1, n)?;
        if found.panel_rows == 1 && found.format.id == 0 {
            return Ok(found);
        }
        Err(ModelError::Layout {
            layer: self.layer,
            role: name(role),
        })
    }

    fn matrix(&self, role: u16, rows: u32, inputs: u32) -> Result<Matrix, ModelError> {
        let missing = ModelError::Missing {
            layer: self.layer,
            role: name(role),
        };
        let matrix = match self.beside(role) {
            Some(matrix) => Some(*matrix),
            None => Matrix::of(&self.file.tensor(self.layer, role).ok_or(missing)?),
        };
        let matrix = matrix.ok_or(missing)?;
        let found = (matrix.rows as u32, matrix.inputs as u32);
        let wanted = (rows, inputs);
        if found != wanted {
            return Err(ModelError::Shape {
                layer: self.layer,
                role: name(role),
                found,
                wanted,
            });
        }
        Ok(matrix)
    }
}

fn name(role: u16) -> &'static str {
    ROLES.iter().find(|r| r.id == role).map_or("?", |r| r.name)
}
