// Behavior of the report. Data come from the page itself; nothing is fetched.
"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];
  const page = JSON.parse($("#page-data").textContent);
  const store = {
    get(name, fallback) { try { return sessionStorage.getItem(page.key + name) ?? fallback; } catch { return fallback; } },
    set(name, value) { try { sessionStorage.setItem(page.key + name, value); } catch { /* private window */ } },
  };
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // --- maps ------------------------------------------------------------------------------------
  async function unpack(map) {
    const packed = Uint8Array.from(atob(map.voxels), (c) => c.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    map.data = new Uint8Array(await new Response(stream).arrayBuffer());
    // volume[v]: voxels at least as bright as v, as a share of the box
    const counts = new Float64Array(257);
    for (const value of map.data) counts[value]++;
    for (let v = 255; v >= 0; v--) counts[v] += counts[v + 1];
    map.volume = counts.map((count) => count / map.data.length);
    delete map.voxels;
  }

  // The surface in pieces, by local resolution: finest is yellow, and what lies outside of the mask has the plain color.
  const RAMP = [0xfde725, 0xb4de2c, 0x6dcd59, 0x35b779, 0x1f9e89, 0x26828e, 0x31688e, 0x3e4a89, 0x482878, 0x440154];
  function byLocalResolution(mesh, plain) {
    const { size: n, pixel, data } = page.local, half = Math.floor(n / 2), pieces = new Map();
    const place = (v) => Math.min(n - 1, Math.max(0, Math.round(v / pixel) + half));
    for (let f = 0; f < mesh.faceArr.length; f += 3) {
      const corners = mesh.faceArr.slice(f, f + 3), v = mesh.vertexArr[corners[0]];
      const value = data[place(v.x) + n * (place(v.y) + n * place(v.z))];
      const color = value ? RAMP[Math.min(9, Math.floor(((value - 1) / 255) * 10))] : plain;
      if (!pieces.has(color)) pieces.set(color, { vertexArr: [], normalArr: [], faceArr: [], color, index: new Map() });
      const piece = pieces.get(color);
      for (const corner of corners) {
        if (!piece.index.has(corner)) {
          piece.index.set(corner, piece.vertexArr.length);
          piece.vertexArr.push(mesh.vertexArr[corner]);
          piece.normalArr.push(mesh.normalArr[corner]);
        }
        piece.faceArr.push(piece.index.get(corner));
      }
    }
    return [...pieces.values()].map(({ index, ...piece }) => piece);
  }

  // The slider is the share of the box inside the surface, on a log scale: the same for all maps, whatever their grey values.
  const WIDEST = 0.4, NARROWEST = 0.0005;
  const shareAt = (slider) => WIDEST * (NARROWEST / WIDEST) ** (slider / 1000);
  function levelAt(map, share) {
    let v = 254;
    while (v > 1 && map.volume[v] < share) v--;
    const [more, fewer] = [map.volume[v], map.volume[v + 1]];
    const level = more > fewer ? v + (more - share) / (more - fewer) : v;
    return Math.min(254.5, Math.max(0.5, level));
  }

  // Naive surface nets (Gibson 1998): one vertex in each cell that the level crosses, at the mean of its edges' crossings.
  // Data are [z][y][x]; vertices are x, y, z in Å with the origin at voxel n / 2: right-handed, as in ChimeraX.
  function surface(map, level) {
    const n = map.size, f = map.data, index = new Int32Array(n * n * n).fill(-1), vertices = [], faces = [];
    const corner = [0, 1, n, n + 1, n * n, n * n + 1, n * n + n, n * n + n + 1];
    for (let z = 0; z < n - 1; z++) for (let y = 0; y < n - 1; y++) for (let x = 0; x < n - 1; x++) {
      const at = x + n * (y + n * z);
      let mask = 0;
      for (let c = 0; c < 8; c++) if (f[at + corner[c]] > level) mask |= 1 << c;
      if (mask === 0 || mask === 255) continue;
      let sx = 0, sy = 0, sz = 0, crossings = 0;
      for (let c = 0; c < 8; c++) for (const bit of [1, 2, 4]) {
        const d = c | bit;
        if (d === c || (mask >> c & 1) === (mask >> d & 1)) continue;
        const a = f[at + corner[c]], b = f[at + corner[d]], t = (level - a) / (b - a);
        sx += (c & 1) + (bit === 1 ? t : 0); sy += (c >> 1 & 1) + (bit === 2 ? t : 0); sz += (c >> 2 & 1) + (bit === 4 ? t : 0);
        crossings++;
      }
      index[at] = vertices.length;
      vertices.push({ x: x + sx / crossings, y: y + sy / crossings, z: z + sz / crossings });
    }
    const quad = (a, b, c, d, inside) => !inside ? faces.push(a, c, b, a, d, c) : faces.push(a, b, c, a, c, d);
    for (let z = 1; z < n - 1; z++) for (let y = 1; y < n - 1; y++) for (let x = 1; x < n - 1; x++) {
      const at = x + n * (y + n * z), inside = f[at] > level;
      if (inside !== f[at + 1] > level) quad(index[at], index[at - n], index[at - n - n * n], index[at - n * n], inside);
      if (inside !== f[at + n] > level) quad(index[at], index[at - n * n], index[at - n * n - 1], index[at - 1], inside);
      if (inside !== f[at + n * n] > level) quad(index[at], index[at - 1], index[at - 1 - n], index[at - n], inside);
    }
    const normals = vertices.map((v) => downhill(map, v));
    const half = Math.floor(n / 2);
    for (const v of vertices) { v.x = (v.x - half) * map.pixel; v.y = (v.y - half) * map.pixel; v.z = (v.z - half) * map.pixel; }
    return { vertexArr: vertices, normalArr: normals, faceArr: faces };
  }

  function sample(map, x, y, z) {
    const n = map.size, f = map.data, clamp = (v) => Math.min(n - 1.001, Math.max(0, v));
    x = clamp(x); y = clamp(y); z = clamp(z);
    const i = Math.floor(x), j = Math.floor(y), k = Math.floor(z), a = x - i, b = y - j, c = z - k, at = i + n * (j + n * k), m = n * n;
    const row = (o) => f[o] * (1 - a) + f[o + 1] * a;
    return (row(at) * (1 - b) + row(at + n) * b) * (1 - c) + (row(at + m) * (1 - b) + row(at + n + m) * b) * c;
  }

  function downhill(map, v) {
    const g = [
      sample(map, v.x - 1, v.y, v.z) - sample(map, v.x + 1, v.y, v.z),
      sample(map, v.x, v.y - 1, v.z) - sample(map, v.x, v.y + 1, v.z),
      sample(map, v.x, v.y, v.z - 1) - sample(map, v.x, v.y, v.z + 1),
    ];
    const length = Math.hypot(...g) || 1;
    return { x: g[0] / length, y: g[1] / length, z: g[2] / length };
  }

  // --- the viewer ------------------------------------------------------------------------------
  const VIEWS = { front: [0, 0, 0, 1], side: [0, -Math.SQRT1_2, 0, Math.SQRT1_2], top: [Math.SQRT1_2, 0, 0, Math.SQRT1_2] };
  const viewer = { gl: null, map: null, pending: 0 };

  function setUpViewer() {
    const place = $("#viewer");
    if (!place || !page.maps.length) return;
    try {
      viewer.gl = $3Dmol.createViewer(place, { backgroundColor: css("--canvas"), antialias: true, disableFog: true });
    } catch (error) {
      viewer.gl = null;
    }
    if (!viewer.gl) {
      place.innerHTML = '<p class="missing">This browser shows no 3-D graphics (WebGL is off). The sections below need none.</p>';
      return;
    }
    viewer.gl.setProjection("orthographic");
    const canvas = place.querySelector("canvas");
    canvas.setAttribute("aria-hidden", "true");
    canvas.tabIndex = -1;
    place.addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: [-10, "vy"], ArrowRight: [10, "vy"], ArrowUp: [-10, "vx"], ArrowDown: [10, "vx"] }[event.key];
      if (turn) viewer.gl.rotate(...turn);
      else if (event.key === "+" || event.key === "=") viewer.gl.zoom(1.15);
      else if (event.key === "-") viewer.gl.zoom(1 / 1.15);
      else return;
      event.preventDefault();
      viewer.gl.render();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSurface);
    new ResizeObserver(() => viewer.gl.resize()).observe(place);
    $$("[data-view]").forEach((button) => button.addEventListener("click", () => look(button.dataset.view)));
  }

  function look(name) {
    const view = viewer.gl.getView();
    viewer.gl.setView([...view.slice(0, 4), ...VIEWS[name]]);
    viewer.gl.render();
  }

  function frame() {
    // The origin in the middle and the box's inscribed sphere in view, so that all maps have one place and one size.
    const place = $("#viewer"), side = viewer.map.size * viewer.map.pixel, FIELD = Math.PI / 9;
    const reach = 0.42 * side * Math.max(1, place.clientWidth / place.clientHeight);
    viewer.gl.setSlab(-5 * side, 5 * side);
    viewer.gl.setView([0, 0, 0, 150 - reach / Math.tan(FIELD), ...VIEWS.front]);
  }

  function drawSurface() {
    const map = viewer.map, slider = $("#level"), level = levelAt(map, shareAt(+slider.value));
    const grey = map.low + (level / 255) * (map.high - map.low), sigma = (grey - map.mean) / map.deviation;
    const inside = shareAt(+slider.value) * (map.size * map.pixel) ** 3;
    const text = `level ${grey.toPrecision(3)} (${sigma.toFixed(1)} σ)`;
    // 1.21 Å³ a Da: protein of 1.37 g/cm³.
    const mass = Math.max(1, Math.round(inside / 1.21 / 1000));
    $("#level-text").textContent = `At ${text} the surface encloses ${(inside / 1000).toFixed(1)} nm³, as much as protein of ${mass} kDa fills.`;
    slider.setAttribute("aria-valuetext", text);
    store.set("level", slider.value);
    if (!viewer.gl) return;
    viewer.gl.removeAllShapes();
    viewer.gl.setBackgroundColor(css("--canvas"));
    const mesh = surface(map, level);
    viewer.triangles = mesh.faceArr.length / 3;
    const plain = css(map.color || "--surface"), isColored = !!$("#local")?.checked;
    if ($("#local-key")) $("#local-key").hidden = !isColored;
    const pieces = isColored ? byLocalResolution(mesh, plain) : [{ ...mesh, color: plain }];
    if (mesh.faceArr.length) pieces.forEach((piece) => viewer.gl.addCustom(piece));
    viewer.gl.render();
  }

  function soon(action) {
    cancelAnimationFrame(viewer.pending);
    viewer.pending = requestAnimationFrame(action);
  }

  // --- sections --------------------------------------------------------------------------------
  const PLANES = [["x", "y", "z"], ["x", "z", "y"], ["y", "z", "x"]];  // across, up, through

  function drawSection(canvas, map, plane, at) {
    const n = map.size, stride = { x: 1, y: n, z: n * n }, [across, up, through] = PLANES[plane].map((axis) => stride[axis]);
    const [low, high] = map.window, picture = new ImageData(n, n);
    for (let row = 0; row < n; row++) for (let column = 0; column < n; column++) {
      const value = map.data[column * across + (n - 1 - row) * up + at * through];
      const grey = 255 * Math.min(1, Math.max(0, (value - low) / (high - low)));
      picture.data.set([grey, grey, grey, 255], 4 * (row * n + column));
    }
    const small = new OffscreenCanvas(n, n);
    small.getContext("2d").putImageData(picture, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  }

  function setWindow(map) {
    const quantile = (share) => { let v = 255; while (v > 0 && map.volume[v] < share) v--; return v; };
    map.window = [quantile(0.98), Math.max(quantile(0.002), quantile(0.98) + 1)];
  }

  function drawSections() {
    const map = viewer.map;
    $$("[data-plane]").forEach((canvas) => {
      const plane = +canvas.dataset.plane, slider = $(`#section-${plane}`), through = PLANES[plane][2];
      const at = Math.min(map.size - 1, Math.round((+slider.value / 1000) * (map.size - 1)));
      drawSection(canvas, map, plane, at);
      const place = `${through} = ${((at - Math.floor(map.size / 2)) * map.pixel).toFixed(0)} Å`;
      $(`#section-text-${plane}`).textContent = place;
      slider.setAttribute("aria-valuetext", place);
      store.set(`section-${plane}`, slider.value);
    });
  }

  function drawGallery() {
    $$("[data-gallery]").forEach((canvas) => {
      const [number, plane] = canvas.dataset.gallery.split(" ").map(Number), map = page.maps[number];
      drawSection(canvas, map, plane, Math.floor(map.size / 2));
    });
  }

  function choose(number, keepView) {
    viewer.map = page.maps[number];
    store.set("map", number);
    $$("[data-map-title]").forEach((node) => { node.textContent = viewer.map.title; });
    if (viewer.gl && !keepView) frame();
    drawSurface();
    drawSections();
  }

  async function setUpMaps() {
    if (!page.maps.length) return;
    await Promise.all([...page.maps, ...(page.local ? [page.local] : [])].map(unpack));
    page.maps.forEach(setWindow);
    setUpViewer();
    const first = Math.min(page.maps.length - 1, +store.get("map", 0)), level = $("#level");
    level.value = store.get("level", level.value);
    level.addEventListener("input", () => soon(drawSurface));
    $$("[data-section]").forEach((slider) => {
      slider.value = store.get(slider.id, slider.value);
      slider.addEventListener("input", () => soon(drawSections));
    });
    $$('input[name="map"]').forEach((radio) => {
      radio.checked = +radio.value === first;
      radio.addEventListener("change", () => choose(+radio.value, true));
    });
    const local = $("#local");
    local?.addEventListener("change", () => {
      store.set("local", local.checked ? "yes" : "");
      drawSurface();
    });
    if (local) local.checked = !!store.get("local", "");
    choose(first, false);
    const view = store.get("view", null);
    if (viewer.gl && view) { viewer.gl.setView(JSON.parse(view)); viewer.gl.render(); }
    drawGallery();
  }

  // --- scales of a fitted image ----------------------------------------------------------------
  function setUpScales() {
    $$("[data-field]").forEach((field) => {
      const slider = field.querySelector("[data-scales]");
      const show = () => {
        field.querySelectorAll("[data-scale]").forEach((node) => { node.hidden = node.dataset.scale !== slider.value; });
        slider.setAttribute("aria-valuetext", `scale ${slider.value} of ${slider.max}`);
        store.set(slider.id, slider.value);
      };
      slider.value = store.get(slider.id, slider.value);
      slider.addEventListener("input", show);
      show();
    });
  }

  // --- a run that goes on ----------------------------------------------------------------------
  function keepFresh() {
    if (!page.refresh) return;
    let touched = 0;
    for (const kind of ["pointerdown", "keydown", "wheel", "input"]) addEventListener(kind, () => { touched = Date.now(); }, { passive: true });
    setInterval(() => {
      if (document.hidden || Date.now() - touched < 4000) return;
      if (viewer.gl) store.set("view", JSON.stringify(viewer.gl.getView()));
      store.set("scroll", scrollY);
      location.reload();
    }, 1000 * page.refresh);
    scrollTo(0, +store.get("scroll", 0));
  }

  setUpScales();
  setUpMaps().then(() => {
    document.documentElement.dataset.ready = "yes";
    keepFresh();
  });
  window.resmfnReport = { page, viewer, surface, levelAt };
})();
