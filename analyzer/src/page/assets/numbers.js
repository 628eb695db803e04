// Numbers with their units, as the terminal writes them: kB, MB and GB are powers of 1000.

const UNITS = [["B", 1], ["kB", 1e3], ["MB", 1e6], ["GB", 1e9], ["TB", 1e12], ["PB", 1e15]];

/** The unit in which a number of bytes is read best. */
function unitOf(bytes) {
  const size = Math.abs(bytes);
  // What would round up to 1000.0 is 1.0 of the next unit.
  return UNITS.find(([, factor], at) => at === UNITS.length - 1 || size < (at ? 999.95 : 999.5) * factor);
}

function inUnit(bytes, [name, factor]) {
  return factor === 1 ? String(Math.round(bytes)) : (bytes / factor).toFixed(1);
}

/** `184.3 MB` */
function bytesText(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const unit = unitOf(bytes);
  return `${inUnit(bytes, unit)} ${unit[0]}`;
}

/** `142.3 MB ± 1.2 MB`: an estimate and its standard error; exact bytes have none. */
function estimatedBytes(bytes, error) {
  return error ? `${bytesText(bytes)} ± ${bytesText(error)}` : bytesText(bytes);
}

/** `1,234,567` */
function countText(number) {
  return Math.round(number).toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** `1 block`, `1,200 blocks`, `3 processes` */
function countedText(number, noun) {
  return `${countText(number)} ${noun}${number === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
}

/** `0.012 s`, `12.3 s`, `5 min`, `1 h 45 min`, `2 d 7 h` */
function durationText(seconds) {
  if (seconds < 1) return `${seconds.toFixed(3)} s`;
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  const days = Math.floor(hours / 24);
  return days < 1000 ? `${days} d ${hours % 24} h` : "over two years";
}

/** `12.3 %`; less than a tenth is said as that. */
function shareText(part) {
  const percent = part * 100;
  if (percent > 0 && percent < 0.1) return "under 0.1 %";
  return `${percent.toFixed(1)} %`;
}

/** An estimate in words: its number, its unit, and its interval in the same unit. */
function estimateText(estimate, per) {
  const unit = unitOf(Math.max(Math.abs(estimate.estimate), Math.abs(estimate.low), Math.abs(estimate.high)));
  const signed = (bytes) => (bytes < 0 ? "−" : "") + inUnit(Math.abs(bytes), unit);
  return {
    number: (estimate.estimate < 0 ? "−" : estimate.estimate > 0 ? "+" : "") + inUnit(Math.abs(estimate.estimate), unit),
    unit: `${unit[0]}/${per}`,
    interval: `${signed(estimate.low)} to ${signed(estimate.high)}`,
  };
}

/** How something grows: by request where requests are counted, else by second or by hour. */
function growthText(growth) {
  if (growth.bytes_per_request) return estimateText(growth.bytes_per_request, "request");
  const rate = growth.bytes_per_second;
  if (!rate) return null;
  if (Math.abs(rate.estimate) >= 1000) return estimateText(rate, "s");
  const hourly = { estimate: rate.estimate * 3600, low: rate.low * 3600, high: rate.high * 3600 };
  return estimateText(hourly, "h");
}
