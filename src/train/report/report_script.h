// The script of a report page: values under the pointer or the arrow keys, a logarithmic scale, series on and off. It reads
// only what the charts have as attributes, and writes text, never markup. Without it the page lacks nothing but these.
#pragma once

#include <string_view>

namespace shori {

inline constexpr std::string_view kReportScript = R"(
'use strict';
for (const figure of document.querySelectorAll('figure')) {
  const svg = figure.querySelector('svg'), groups = [...svg.querySelectorAll('.series')];
  if (!groups.length) continue;
  const [x0, x1] = svg.dataset.x.split(',').map(Number), [y0, y1] = svg.dataset.y.split(',').map(Number);
  const left = 62, width = 644, top = 12, height = 228, space = 'http://www.w3.org/2000/svg';
  const series = groups.map(group => ({group, name: group.dataset.name,
    points: group.dataset.points.split(' ').map(pair => pair.split(',').map(Number))}));
  const positive = series.flatMap(each => each.points.map(point => point[1])).filter(y => y > 0);
  const lowest = positive.reduce((a, b) => Math.min(a, b), Infinity);
  const make = (name, parent, text) => {
    const element = parent.appendChild(document.createElement(name));
    if (text) element.textContent = text;
    return element;
  };
  const tools = make('div', figure), value = make('div', figure);
  tools.className = 'tools'; value.className = 'value'; value.setAttribute('aria-live', 'polite');
  const check = (text, on, change) => {
    const label = make('label', tools), box = make('input', label);
    box.type = 'checkbox'; box.checked = on; label.append(' ' + text);
    box.addEventListener('change', () => change(box.checked));
  };
  const linear = svg.querySelector('.y-ticks'), logarithmic = svg.insertBefore(document.createElementNS(space, 'g'), linear);
  logarithmic.setAttribute('class', 'off');
  for (let i = 0; i <= 4 && positive.length && y1 > lowest; ++i) {
    const text = logarithmic.appendChild(document.createElementNS(space, 'text'));
    text.setAttribute('x', left - 6); text.setAttribute('y', top + height * (1 - i / 4) + 4);
    text.setAttribute('text-anchor', 'end');
    text.textContent = (lowest * (y1 / lowest) ** (i / 4)).toPrecision(3);
  }
  let log = false;
  const sx = x => left + (x - x0) / (x1 - x0) * width;
  const sy = y => top + height * (1 - (log ? Math.log(y / lowest) / Math.log(y1 / lowest) : (y - y0) / (y1 - y0)));
  const draw = () => {
    linear.classList.toggle('off', log); logarithmic.classList.toggle('off', !log);
    for (const {group, points} of series) {
      const shown = points.filter(point => !log || point[1] > 0);
      group.querySelector('path').setAttribute('d', shown.map((point, i) =>
        (i ? 'L' : 'M') + sx(point[0]).toFixed(2) + ' ' + sy(point[1]).toFixed(2)).join(''));
      group.querySelectorAll('circle').forEach((dot, i) => {
        const seen = !log || points[i][1] > 0;
        dot.classList.toggle('off', !seen);
        if (seen) dot.setAttribute('cy', sy(points[i][1]).toFixed(2));
      });
    }
  };
  if (positive.length && y1 > lowest) check('log scale', false, on => { log = on; draw(); });
  if (series.length > 1)
    for (const {group, name} of series) check(name, true, on => group.classList.toggle('off', !on));
  const mark = svg.appendChild(document.createElementNS(space, 'path'));
  mark.setAttribute('class', 'axis');
  const steps = [...new Set(series.flatMap(each => each.points.map(point => point[0])))].sort((a, b) => a - b);
  let at = 0;
  const show = () => {
    const x = steps[at];
    mark.setAttribute('d', 'M' + sx(x).toFixed(2) + ' ' + top + 'v' + height);
    const near = ({points}) => points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a);
    value.textContent = series.filter(each => !each.group.classList.contains('off'))
      .map(each => each.name + ' at ' + near(each)[0] + ': ' + Number(near(each)[1].toPrecision(6))).join(' · ');
  };
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), x = x0 + ((event.clientX - box.left) / box.width * 720 - left) / width * (x1 - x0);
    at = steps.reduce((best, step, i) => Math.abs(step - x) < Math.abs(steps[best] - x) ? i : best, 0);
    show();
  });
  svg.setAttribute('tabindex', '0');
  svg.addEventListener('keydown', event => {
    const move = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (!move) return;
    event.preventDefault();
    at = Math.min(steps.length - 1, Math.max(0, at + move));
    show();
  });
}
)";

}  // namespace shori
