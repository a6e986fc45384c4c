// Draws the report's charts. Colours come from the style sheet, so that both colour schemes are in one place.
"use strict";

(() => {
  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  const byNode = new Map(charts.map((chart) => [document.getElementById(`chart-${chart.id}`), chart]));
  const drawn = new Set();

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

  const isShare = (chart) => chart.unit === "share" && chart.kind === "lines";

  // A run's first steps are few; dots show where the points are until there are too many to tell apart.
  function mode(series) {
    return series.steps.length > 60 ? "lines" : "lines+markers";
  }

  function line(series, chart) {
    const own = colour(series.role);
    const isValidation = series.role === "val";
    return {
      type: "scatter",
      name: series.name,
      x: series.steps,
      y: series.values,
      mode: isValidation ? "lines+markers" : mode(series),
      line: { color: own, width: isValidation ? 1 : 2, dash: isValidation ? "dot" : "solid" },
      // Shape tells them apart where colour does not.
      marker: { color: own, size: isValidation || series.steps.length === 1 ? 9 : 4, symbol: isValidation ? "diamond" : "circle" },
      cliponaxis: false,
      hovertemplate: `%{y:${isShare(chart) ? ".1%" : ".4~g"}}<extra>${series.name}</extra>`,
    };
  }

  function layer(series, chart) {
    return {
      ...line(series, chart),
      mode: series.steps.length > 1 ? "lines" : "markers",
      stackgroup: "parts",
      line: { color: colour(series.role), width: 0.5 },
      fillcolor: colour(`${series.role}-fill`),
    };
  }

  function heat(chart) {
    const scale = [0, 1, 2, 3, 4].map((i) => [i / 4, colour(`heat-${i}`)]);
    return [
      {
        type: "heatmap",
        x: chart.heat.steps,
        y: chart.heat.bins,
        z: chart.heat.shares,
        zmin: 0,
        colorscale: scale,
        colorbar: { thickness: 8, outlinewidth: 0, tickformat: ".0%", tickfont: { size: 10 }, len: 1 },
        hovertemplate: "step %{x}, around %{y:.3~g}: %{z:.1%}<extra></extra>",
      },
    ];
  }

  function traces(chart) {
    if (chart.kind === "heat") return heat(chart);
    return chart.series.map((series) => (chart.kind === "stack" ? layer : line)(series, chart));
  }

  // A share keeps its whole range unless it stays small: a jump from 0.1% to 0.3% is not to look like one to 100%,
  // and not to be invisible either.
  function shareRange(chart) {
    const top = Math.max(...chart.series.map((series) => Math.max(...series.values)));
    return top > 0.3 ? [-0.02, 1.02] : [-0.006, 0.306];
  }

  // Steps are whole numbers, of which a short run has few.
  function stepTicks(chart) {
    const steps = chart.heat ? chart.heat.steps : chart.series.flatMap((series) => series.steps);
    return Math.max(...steps) - Math.min(...steps) < 8 ? { dtick: 1 } : { tickformat: "d" };
  }

  function layout(chart, height) {
    const axis = {
      gridcolor: colour("line"),
      zeroline: false,
      linecolor: colour("line"),
      tickfont: { size: 11, color: colour("muted") },
      fixedrange: true,
    };
    return {
      height,
      // Fixed: plotly would fit them to the labels by drawing again and again.
      margin: { l: 46, r: chart.kind === "heat" ? 58 : 10, t: 8, b: 36, autoexpand: false },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("text") },
      xaxis: { ...axis, showgrid: false, ...stepTicks(chart), title: { text: "step", font: { size: 11 }, standoff: 4 } },
      yaxis: {
        ...axis,
        nticks: 6,
        ...(isShare(chart) ? { range: shareRange(chart), tickformat: ".0%" } : { rangemode: "tozero", exponentformat: "e" }),
      },
      showlegend: false, // the page has its own, which wraps
      hovermode: chart.kind === "heat" ? "closest" : "x unified",
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("text") } },
      // Dragging would take the page's own scrolling away on a phone.
      dragmode: false,
    };
  }

  function draw(node) {
    const chart = byNode.get(node);
    const options = { displayModeBar: false, responsive: true };
    const first = !drawn.has(node);
    // Before it is laid out: colours that change meanwhile are drawn anew too.
    drawn.add(node);
    Plotly.react(node, traces(chart), layout(chart, node.clientHeight), options).then(() => {
      if (first) node.on("plotly_click", (event) => choose(chart, event.points[0]));
    });
  }

  // Of curves about some groups alone, those groups.
  const OUTCOMES = {
    advantage_from_all_wrong: "moving",
    groups_all_wrong: "wrong",
    groups_all_wrong_moving: "moving",
    groups_without_variance: "equal",
  };

  // What a point stands for is in the browser of rollouts below.
  function choose(chart, point) {
    const series = chart.series[point.curveNumber];
    const split = series && series.role === "val" ? "val" : "train";
    document.dispatchEvent(new CustomEvent("choose-step", { detail: { split, step: point.x, outcome: OUTCOMES[chart.id] } }));
  }

  // Twenty charts at once keep a phone busy for seconds; each is drawn when it comes near the window.
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        watcher.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  byNode.forEach((_, node) => watcher.observe(node));
  addEventListener("beforeprint", () => byNode.forEach((_, node) => draw(node)));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn.forEach(draw));
})();
