// Live figures, charts with one brush, themes and keys. Without it every page still works, but for charts.
"use strict";
(() => {
  const root = document.documentElement, stored = key => { try { return localStorage.getItem(key); } catch { return null; } };
  const store = (key, value) => { try { localStorage.setItem(key, value); } catch { /* private window */ } };
  if (stored("theme")) root.dataset.theme = stored("theme");
  const charts = new Map(), sync = "time";
  const colour = n => getComputedStyle(root).getPropertyValue(n).trim();
  const human = (value, unit) => {
    if (value == null) return "–";
    if (unit === "bytes") { let n = value, i = 0; while (Math.abs(n) >= 1024 && i < 5) { n /= 1024; i++; } return (i && n < 100 ? n.toFixed(1) : n.toFixed(0)) + " " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][i]; }
    if (unit === "seconds") { const a = Math.abs(value); return a === 0 ? "0" : a < 1e-3 ? (value * 1e6).toFixed(0) + " µs" : a < 1 ? +(value * 1e3).toPrecision(3) + " ms" : a < 120 ? +value.toPrecision(3) + " s" : a < 7200 ? (value / 60).toFixed(0) + " min" : (value / 3600).toFixed(1) + " h"; }
    const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
    return unit === "percent" ? text + " %" : text;
  };

  // Hours and minutes of the reader's clock, with the day where there are several.
  const times = (u, ticks) => {
    const span = u.scales.x.max - u.scales.x.min, two = n => String(n).padStart(2, "0");
    return ticks.map(t => { const d = new Date(t * 1000); return (span > 1.5e5 ? two(d.getMonth() + 1) + "-" + two(d.getDate()) + " " : "") + two(d.getHours()) + ":" + two(d.getMinutes()) + (span < 300 ? ":" + two(d.getSeconds()) : ""); });
  };

  const zoom = (from, to) => {
    const url = new URL(location);
    url.searchParams.delete("last");
    url.searchParams.set("from", Math.floor(from * 1000));
    url.searchParams.set("to", Math.ceil(to * 1000));
    history.pushState(null, "", url);
    load();
  };

  function values(figure, chart, plot, at) {
    figure.querySelectorAll(".legend li").forEach((li, i) => {
      let out = li.querySelector("output");
      if (!out) { out = document.createElement("output"); out.dataset.keep = ""; li.append(out); }
      out.textContent = at == null || !plot.series[i] ? "" : human(plot.series[i].values[at], plot.unit);
    });
  }

  function draw(figure) {
    const text = figure.dataset.plot;
    if (!text || !window.uPlot) return;
    const old = charts.get(figure);
    if (old && old.text === text && old.theme === root.dataset.theme && old.width === figure.clientWidth) return;
    const plot = JSON.parse(text);
    if (!plot.times.length) return;
    const n = plot.series.length, data = [plot.times], limit = plot.limit && plot.limit.at;
    if (plot.stacked) {
      const sum = plot.times.map(() => 0), sums = plot.series.map(s => s.values.map((v, i) => (sum[i] += v || 0)));
      for (let i = n - 1; i >= 0; i--) data.push(sums[i]);
    } else plot.series.forEach(s => data.push(s.values));
    const shape = JSON.stringify([plot.series.map(s => [s.name, s.colour]), limit, root.dataset.theme]);
    if (old && old.shape === shape && old.width === figure.clientWidth) {
      old.chart.setData(data); old.text = text; old.plot = plot; return;
    }
    if (old) { old.chart.destroy(); old.box.remove(); }
    const box = document.createElement("div");
    box.className = "canvas"; box.dataset.keep = ""; box.setAttribute("role", "img");
    box.tabIndex = 0;
    box.setAttribute("aria-label", plot.title + ". Arrow keys move, Shift selects, Enter zooms; the figures are in this page's JSON.");
    figure.querySelector("figcaption").after(box);
    const series = [{}];
    for (let k = 0; k < n; k++) {
      const s = plot.series[plot.stacked ? n - 1 - k : k], c = colour("--c" + s.colour % 12);
      series.push({ label: s.name, stroke: c, width: plot.stacked ? 0.5 : 1.6, fill: plot.stacked ? c : undefined, points: { show: plot.times.length < 3 }, spanGaps: false });
    }
    const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const entry = { text, shape, plot, box, width: figure.clientWidth, theme: root.dataset.theme };
    entry.chart = new uPlot({
      width: Math.max(figure.clientWidth, 200), height: 228, series,
      cursor: { sync: { key: sync, setSeries: false }, drag: { x: true, y: false, setScale: false }, points: { show: !plot.stacked } },
      scales: { x: { time: true, range: (u, lo, hi) => entry.plot.range || [lo, hi] }, y: { range: (u, lo, hi) => [Math.min(0, lo || 0), Math.max(hi || 0, limit || 0, { bytes: 1024, seconds: .001, percent: 10 }[plot.unit] || 1) * 1.08] } },
      axes: [{ ...axis, values: times }, { ...axis, size: 72, values: (u, ticks) => ticks.map(v => human(v, plot.unit)) }],
      hooks: {
        setSelect: [u => { if (u.select.width > 4) { const a = u.posToVal(u.select.left, "x"), b = u.posToVal(u.select.left + u.select.width, "x"); u.setSelect({ left: 0, width: 0 }, false); zoom(a, b); } }],
        setCursor: [u => values(figure, u, entry.plot, u.cursor.idx)],
        draw: [u => {
          if (limit == null) return;
          const y = u.valToPos(limit, "y", true), c = u.ctx, right = u.bbox.left + u.bbox.width;
          c.save(); c.strokeStyle = c.fillStyle = colour("--bad"); c.setLineDash([6, 4]); c.beginPath(); c.moveTo(u.bbox.left, y); c.lineTo(right, y); c.stroke(); c.textAlign = "right"; c.fillText(entry.plot.limit.name, right - 4, y - 5); c.restore();
        }, u => entry.plot.marks.forEach(m => {
          const x = u.valToPos(m.at, "x", true), c = u.ctx;
          if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) return;
          c.save(); c.strokeStyle = colour("--dim"); c.setLineDash([2, 3]); c.beginPath(); c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke(); c.fillStyle = colour("--dim"); c.fillText(m.what, x + 4, u.bbox.top + 12); c.restore();
        })],
      },
    }, data, box);
    box.addEventListener("keydown", event => keys(event, entry));
    charts.set(figure, entry);
  }

  // A chart without a mouse: the cursor by arrows, a selection with Shift, Enter to zoom, Escape to go back.
  function keys(event, entry) {
    const u = entry.chart, times = entry.plot.times, last = times.length - 1, step = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    if (step) {
      event.preventDefault();
      const at = entry.at ?? (step < 0 ? last + 1 : -1), to = Math.min(last, Math.max(0, at + step));
      entry.anchor = event.shiftKey ? entry.anchor ?? Math.min(last, Math.max(0, at)) : null;
      entry.at = to;
      const x = i => u.valToPos(times[i], "x");
      u.setCursor({ left: x(to), top: 10 });
      const [a, b] = entry.anchor == null ? [to, to] : [Math.min(entry.anchor, to), Math.max(entry.anchor, to)];
      u.setSelect({ left: x(a), width: x(b) - x(a), top: 0, height: u.bbox.height / devicePixelRatio }, false);
    } else if (event.key === "Enter" && entry.anchor != null && entry.anchor !== entry.at) {
      zoom(times[Math.min(entry.anchor, entry.at)], times[Math.max(entry.anchor, entry.at)]);
    } else if (event.key === "Escape") history.back();
  }

  function drawAll() {
    for (const [figure, entry] of charts) if (!figure.isConnected) { entry.chart.destroy(); charts.delete(figure); }
    document.querySelectorAll("figure[data-plot]").forEach(draw);
  }

  // Changes only what differs, so that focus, selection and what is unfolded stay.
  const kept = node => node.nodeType === 1 && "keep" in node.dataset;
  function morph(now, next) {
    for (const { name, value } of [...next.attributes]) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    for (const { name } of [...now.attributes]) if (!next.hasAttribute(name) && name !== "open") now.removeAttribute(name);
    if (now.tagName === "INPUT") return;
    const mine = [...now.childNodes].filter(n => !kept(n)), theirs = [...next.childNodes];
    theirs.forEach((child, i) => {
      const old = mine[i];
      if (!old) now.append(child);
      else if (old.nodeType !== child.nodeType || old.nodeName !== child.nodeName || (old.id || "") !== (child.id || "")) old.replaceWith(child);
      else if (child.nodeType === 1) { if (!old.isEqualNode(child)) morph(old, child); }
      else if (old.data !== child.data) old.data = child.data;
    });
    mine.slice(theirs.length).forEach(n => n.remove());
  }

  let loading = null;
  async function load() {
    const main = document.getElementById("main");
    if (loading) loading.abort();
    const mine = loading = new AbortController();
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "main" }, signal: mine.signal, credentials: "same-origin" });
      if (answer.status === 401) { location.reload(); return; }
      const text = await answer.text(), page = new DOMParser().parseFromString(text, "text/html");
      const next = page.getElementById("main"), tools = page.querySelector(".spans");
      if (!next) throw new Error("no content");
      morph(main, next);
      if (tools) morph(document.querySelector(".spans"), tools);
      drawAll();
      main.dataset.lost = "";
    } catch (error) {
      if (error.name === "AbortError") return;
      const state = main.querySelector(".state");
      if (state) state.textContent = "The service does not answer; trying again.";
    } finally { if (loading === mine) loading = null; }
  }

  function start() {
    const main = document.getElementById("main"), live = document.getElementById("live");
    drawAll();
    if (!live) return;
    const on = () => live.getAttribute("aria-pressed") === "true";
    live.addEventListener("click", () => live.setAttribute("aria-pressed", String(!on())));
    setInterval(() => { if (on() && "live" in main.dataset && !document.hidden && !loading) load(); }, 2000);
    addEventListener("popstate", load);
    let resized; addEventListener("resize", () => { clearTimeout(resized); resized = setTimeout(drawAll, 150); });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { charts.forEach(e => { e.theme = null; e.shape = null; }); drawAll(); });
    const theme = () => {
      const dark = (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
      root.dataset.theme = dark ? "light" : "dark";
      store("theme", root.dataset.theme); drawAll();
    };
    document.getElementById("theme").addEventListener("click", theme);
    const dialog = document.getElementById("keys"), help = () => dialog.open ? dialog.close() : dialog.showModal();
    document.getElementById("help").addEventListener("click", help);
    document.addEventListener("click", event => {
      const copy = event.target.closest("[data-copy]");
      if (copy && navigator.clipboard) navigator.clipboard.writeText(copy.parentNode.querySelector("pre").innerText).then(() => { copy.textContent = "Copied"; });
    });
    document.addEventListener("submit", event => {
      const act = event.submitter && event.target.matches(".act") && event.submitter.value;
      if (act && !confirm((act === "cancel" ? "Cancel the statement of" : "End") + " session " + event.target.elements.pid.value + "?")) event.preventDefault();
    });
    let before = "";
    document.addEventListener("keydown", event => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
      const page = before === "g" && document.querySelector(`header nav a[data-key="${CSS.escape(event.key)}"]`);
      if (page) { location.assign(page.href); return; }
      before = event.key;
      if (event.key === "/") { event.preventDefault(); document.getElementById("search").focus(); }
      else if (event.key === "p") live.click();
      else if (event.key === "d") theme();
      else if (event.key === "?") help();
    });
  }
  document.readyState === "complete" ? start() : addEventListener("load", start);
})();
