//! The ratios as a picture: a bar for each test, its spread a line across the bar's end.

use crate::report::Row;
use anyhow::{Result, anyhow};
use plotters::prelude::*;
use std::path::Path;

const WIDTH: u32 = 900;
/// Pixels of a bar with the gap below it.
const BAR: i32 = 24;
/// Pixels left of the bars, for what they are.
const LABELS: i32 = 380;
const MARGIN: i32 = 30;
const FONT: (&str, i32) = ("sans-serif", 13);

/// Writes the picture of some rows.
pub(crate) fn write(rows: &[Row], path: &Path) -> Result<()> {
    let height = 2 * MARGIN + BAR * i32::try_from(rows.len())?;
    let area = SVGBackend::new(path, (WIDTH, height.unsigned_abs())).into_drawing_area();
    // The backend's errors cannot leave this function: they borrow from it.
    draw(&area, rows, height).map_err(|error| anyhow!("{}: {error}", path.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Drawn<'a> =
    core::result::Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

fn draw<'a>(area: &Area<'a>, rows: &[Row], height: i32) -> Drawn<'a> {
    area.fill(&WHITE)?;
    let most = rows.iter().map(|row| row.ratio.high).fold(1.0, f64::max);
    let scale = f64::from(WIDTH as i32 - LABELS - 2 * MARGIN) / most;
    let x = |ratio: f64| LABELS + (ratio * scale) as i32;
    let title = "tokens a second, Inkstone over llama.cpp";
    area.draw(&Text::new(title, (LABELS, MARGIN / 3), FONT))?;
    for (row, top) in rows.iter().zip((MARGIN..).step_by(BAR as usize)) {
        bar(area, row, top, &x)?;
    }
    let one = [(x(1.0), MARGIN), (x(1.0), height - MARGIN)];
    area.draw(&PathElement::new(one, RED))?;
    area.present()
}

fn bar<'a>(area: &Area<'a>, row: &Row, top: i32, x: &dyn Fn(f64) -> i32) -> Drawn<'a> {
    let (bottom, middle) = (top + BAR - 8, top + BAR / 2 - 4);
    let colour = match row.phase {
        "prefill" => RGBColor(70, 110, 170),
        _ => RGBColor(90, 150, 90),
    };
    let ends = [(x(0.0), top), (x(row.ratio.median), bottom)];
    area.draw(&Rectangle::new(ends, colour.filled()))?;
    let spread = [(x(row.ratio.low), middle), (x(row.ratio.high), middle)];
    area.draw(&PathElement::new(spread, BLACK))?;
    let label = format!(
        "{}, {} against {}, {}",
        row.case,
        row.ours.format,
        row.theirs.format,
        row.test()
    );
    area.draw(&Text::new(label, (10, top + 2), FONT))?;
    let number = format!("{:.2}", row.ratio.median);
    area.draw(&Text::new(number, (x(row.ratio.high) + 6, top + 2), FONT))
}
