"use strict";
// Turns each .viewer of the page into a picture of atoms that can be rotated. Canvas only; nothing is fetched.
(() => {
  document.documentElement.classList.add("js");
  const clamp = (x, a, b) => Math.min(b, Math.max(a, x));
  const multiply = (a, b) => a.map(row => [0, 1, 2].map(k => row[0] * b[0][k] + row[1] * b[1][k] + row[2] * b[2][k]));
  const apply = (m, x) => m.map(row => row[0] * x[0] + row[1] * x[1] + row[2] * x[2]);
  const aboutX = a => [[1, 0, 0], [0, Math.cos(a), -Math.sin(a)], [0, Math.sin(a), Math.cos(a)]];
  const aboutY = a => [[Math.cos(a), 0, Math.sin(a)], [0, 1, 0], [-Math.sin(a), 0, Math.cos(a)]];
  const aboutZ = a => [[Math.cos(a), -Math.sin(a), 0], [Math.sin(a), Math.cos(a), 0], [0, 0, 1]];
  const norm = x => Math.hypot(x[0], x[1], x[2]);
  const triple = (flat, k) => flat[3 * k] === null ? null : [flat[3 * k], flat[3 * k + 1], flat[3 * k + 2]];
  const rgb = hex => [1, 3, 5].map(k => parseInt(hex.slice(k, k + 2), 16));
  const mix = (a, b, t) => a.map((x, k) => Math.round(x + (b[k] - x) * t));
  const css = color => `rgb(${color.join(",")})`;
  const digits = x => Math.abs(x) >= 100 ? x.toFixed(0) : Math.abs(x) >= 10 ? x.toFixed(1) : x.toPrecision(3);

  class View {
    constructor(root) {
      this.root = root;
      this.data = JSON.parse(root.querySelector("script").textContent);
      this.stops = this.data.colors.map(rgb);
      this.canvas = root.querySelector("canvas");
      this.context = this.canvas.getContext("2d");
      this.pointers = new Map();
      this.controls();
      this.gestures();
      new ResizeObserver(() => this.draw()).observe(this.canvas);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
      this.reset();
      this.show(0);
    }
    find(name) { return this.root.querySelector(`[data-is="${name}"]`); }
    control(name) { return this.root.querySelector(`[data-do="${name}"]`); }

    controls() {
      const on = (name, event, what) => this.control(name).addEventListener(event, what);
      on("previous", "click", () => this.show(this.number - 1));
      on("next", "click", () => this.show(this.number + 1));
      on("frame", "change", event => this.show(Number(event.target.value)));
      on("color", "change", () => this.draw());
      on("arrows", "change", () => this.draw());
      on("images", "change", () => this.draw());
      on("worst", "click", () => this.nextWorst());
      on("reset", "click", () => { this.reset(); this.draw(); });
      this.canvas.addEventListener("keydown", event => {
        const step = Math.PI / 18;
        const keys = {
          ArrowLeft: () => this.turn(0, -step), ArrowRight: () => this.turn(0, step),
          ArrowUp: () => this.turn(-step, 0), ArrowDown: () => this.turn(step, 0),
          "+": () => this.zoomBy(1.15), "=": () => this.zoomBy(1.15), "-": () => this.zoomBy(1 / 1.15),
          n: () => this.show(this.number + 1), p: () => this.show(this.number - 1), w: () => this.nextWorst(),
          0: () => { this.reset(); this.draw(); }
        };
        if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) {
          event.preventDefault();
          keys[event.key]();
        }
      });
    }

    gestures() {
      const canvas = this.canvas, pointers = this.pointers;
      let moved = 0, spread = 0;
      const distance = () => {
        const [a, b] = [...pointers.values()];
        return Math.hypot(a[0] - b[0], a[1] - b[1]);
      };
      canvas.addEventListener("pointerdown", event => {
        canvas.setPointerCapture(event.pointerId);
        pointers.set(event.pointerId, [event.clientX, event.clientY]);
        moved = 0;
        if (pointers.size === 2) spread = distance();
      });
      canvas.addEventListener("pointermove", event => {
        const before = pointers.get(event.pointerId);
        if (!before) return;
        const [dx, dy] = [event.clientX - before[0], event.clientY - before[1]];
        pointers.set(event.pointerId, [event.clientX, event.clientY]);
        moved += Math.abs(dx) + Math.abs(dy);
        if (pointers.size === 1) this.turn(dy * 0.01, dx * 0.01);
        else if (pointers.size === 2) {
          const now = distance();
          this.zoomBy(now / (spread || now));
          spread = now;
        }
      });
      const end = event => {
        if (event.type === "pointerup" && pointers.size === 1 && moved < 5) this.pick(event);
        pointers.delete(event.pointerId);
      };
      canvas.addEventListener("pointerup", end);
      canvas.addEventListener("pointercancel", end);
      // The page scrolls over the picture unless the picture has the focus.
      canvas.addEventListener("wheel", event => {
        if (document.activeElement !== canvas && !event.ctrlKey) return;
        event.preventDefault();
        this.zoomBy(Math.exp(-event.deltaY * 0.0015));
      }, { passive: false });
    }

    reset() {
      this.zoom = 1;
      this.rotation = multiply(aboutX(this.data.tilt * Math.PI / 180), aboutZ(this.data.turn * Math.PI / 180));
    }
    turn(x, y) {
      this.rotation = multiply(multiply(aboutX(x), aboutY(y)), this.rotation);
      this.draw();
    }
    zoomBy(factor) {
      this.zoom = clamp(this.zoom * factor, 0.2, 20);
      this.draw();
    }

    show(number) {
      const frames = this.data.frames;
      this.number = (number + frames.length) % frames.length;
      const frame = this.frame = frames[this.number];
      const count = frame.element.length;
      this.atoms = Array.from({ length: count }, (_, k) => {
        const force = triple(frame.force, k), error = triple(frame.error, k);
        return { number: k, element: this.data.elements[frame.element[k]], place: triple(frame.position, k), force, error,
                 predicted: force && error ? force.map((x, i) => x + error[i]) : null,
                 size: error ? 1000 * norm(error) : null };
      });
      this.order = this.atoms.filter(atom => atom.size !== null).sort((a, b) => b.size - a.size);
      this.highest = this.order.length ? Math.max(this.order[0].size, this.data.least) : 0;
      this.vectors = frame.cell ? [0, 1, 2].map(k => triple(frame.cell, k)) : null;
      const corners = this.vectors ? [0, 1, 2, 3, 4, 5, 6, 7].map(k => this.corner(k)) : [];
      const points = corners.concat(this.atoms.map(atom => atom.place));
      const low = [0, 1, 2].map(k => Math.min(...points.map(x => x[k])));
      const high = [0, 1, 2].map(k => Math.max(...points.map(x => x[k])));
      this.centre = low.map((x, k) => (x + high[k]) / 2);
      this.reach = Math.max(1.5, ...points.map(x => norm(x.map((y, k) => y - this.centre[k]))));
      this.selected = null;
      const few = count < 9 && frame.pbc.some(Boolean) && this.vectors;
      this.control("images").checked = Boolean(few);
      this.control("images").disabled = !(frame.pbc.some(Boolean) && this.vectors) || count > 300;
      this.control("frame").value = String(this.number);
      const facts = this.find("facts");
      facts.replaceChildren(...frame.facts.map(([label, value]) => {
        const pair = document.createElement("div"), term = document.createElement("dt"),
          text = document.createElement("dd");
        term.textContent = label;
        text.textContent = value;
        pair.append(term, text);
        return pair;
      }));
      this.canvas.setAttribute("aria-label", `frame ${this.number + 1} of ${frames.length}: ${frame.name}, ${count} atoms`);
      this.find("low").textContent = "0";
      this.find("high").textContent = `${digits(this.highest)} meV/Å`;
      this.tell();
      this.draw();
    }
    corner(k) {
      return [0, 1, 2].map(i => [0, 1, 2].reduce((sum, v) => sum + (k >> v & 1) * this.vectors[v][i], 0));
    }

    nextWorst() {
      if (!this.order.length) return;
      const place = this.order.indexOf(this.selected);
      this.selected = this.order[(place + 1) % this.order.length];
      this.tell();
      this.draw();
    }
    tell() {
      const atom = this.selected, vector = x => x ? `(${x.map(y => y.toFixed(3)).join(", ")})` : "none";
      this.find("atom").textContent = !atom ? "No atom is selected." :
        `Atom ${atom.number}, ${atom.element.symbol}: ` + (atom.error ?
          `force error ${digits(atom.size)} meV/Å; reference ${vector(atom.force)}, predicted ${vector(atom.predicted)} eV/Å`
          : "no reference force");
    }
    pick(event) {
      const box = this.canvas.getBoundingClientRect();
      const x = event.clientX - box.left, y = event.clientY - box.top;
      const hit = (this.drawn || []).filter(item => Math.hypot(item.x - x, item.y - y) <= Math.max(item.radius, 8));
      this.selected = hit.length ? hit[hit.length - 1].atom : null;
      this.tell();
      this.draw();
    }

    colorOf(atom) {
      if (this.control("color").value === "element") return rgb(atom.element.color);
      if (atom.size === null) return [184, 190, 198];
      const t = clamp(this.highest ? atom.size / this.highest : 0, 0, 1) * (this.stops.length - 1);
      const k = Math.min(Math.floor(t), this.stops.length - 2);
      return mix(this.stops[k], this.stops[k + 1], t - k);
    }
    images() {
      const pbc = this.frame.pbc;
      if (!this.vectors || !this.control("images").checked) return [[0, 0, 0, true]];
      const range = k => pbc[k] ? [-1, 0, 1] : [0], found = [];
      for (const a of range(0)) for (const b of range(1)) for (const c of range(2)) {
        const shift = [0, 1, 2].map(i => a * this.vectors[0][i] + b * this.vectors[1][i] + c * this.vectors[2][i]);
        found.push([...shift, !(a || b || c)]);
      }
      return found;
    }

    draw() {
      if (!this.frame) return;
      const canvas = this.canvas, g = this.context, ratio = window.devicePixelRatio || 1;
      const width = canvas.clientWidth, height = canvas.clientHeight;
      if (!width || !height) return;
      if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
        canvas.width = Math.round(width * ratio);
        canvas.height = Math.round(height * ratio);
      }
      const look = getComputedStyle(this.root);
      const ink = look.getPropertyValue("--ink").trim(), soft = look.getPropertyValue("--soft").trim();
      const wash = rgb(look.getPropertyValue("--stage").trim());
      g.setTransform(ratio, 0, 0, ratio, 0, 0);
      g.clearRect(0, 0, width, height);
      const shifts = this.images();
      const reach = this.reach * (shifts.length > 1 ? 1.7 : 1.08);
      const scale = this.zoom * Math.min(width, height) / (2 * reach);
      const project = place => {
        const turned = apply(this.rotation, place.map((x, k) => x - this.centre[k]));
        return [width / 2 + scale * turned[0], height / 2 - scale * turned[1], turned[2]];
      };
      const far = z => clamp(0.32 - 0.32 * z / (reach || 1), 0, 0.62);
      const items = [];
      if (this.vectors) this.box(project, items, soft);
      const radius = atom => Math.max(2, 0.5 * atom.element.radius * scale);
      this.drawn = [];
      for (const [a, b, c, own] of shifts) for (const atom of this.atoms) {
        const [x, y, z] = project([atom.place[0] + a, atom.place[1] + b, atom.place[2] + c]);
        // Atoms of the neighbouring cells are drawn small, so that they do not hide the frame's own.
        const entry = { atom, x, y, z, radius: (own ? 1 : 0.4) * radius(atom), own };
        items.push({ z, paint: () => this.ball(entry, wash, far(z), ink) });
        if (own) this.drawn.push(entry);
      }
      this.drawn.sort((p, q) => p.z - q.z);
      items.sort((p, q) => p.z - q.z).forEach(item => item.paint());
      this.arrows(project, scale, ink);
      canvas.dataset.frame = this.number;
      canvas.dataset.rotation = this.rotation.flat().map(x => x.toFixed(4)).join(" ");
      this.root.querySelector(".scale").hidden = this.control("color").value !== "error" || !this.order.length;
    }
    box(project, items, color) {
      const g = this.context, pieces = 10;
      for (let a = 0; a < 8; a++) for (const step of [1, 2, 4]) {
        if (a & step) continue;
        const [from, to] = [this.corner(a), this.corner(a | step)];
        for (let k = 0; k < pieces; k++) {
          const at = t => project(from.map((x, i) => x + (to[i] - x) * t));
          const [p, q] = [at(k / pieces), at((k + 1) / pieces)];
          items.push({ z: (p[2] + q[2]) / 2, paint: () => {
            g.strokeStyle = color;
            g.lineWidth = 1;
            g.beginPath();
            g.moveTo(p[0], p[1]);
            g.lineTo(q[0], q[1]);
            g.stroke();
          } });
        }
      }
    }
    ball(entry, wash, haze, ink) {
      const g = this.context, { x, y, radius, atom, own } = entry;
      const color = mix(this.colorOf(atom), wash, own ? 0.5 * haze : 0.45);
      if (radius > 3) {
        const shade = g.createRadialGradient(x - 0.35 * radius, y - 0.4 * radius, 0.1 * radius, x, y, radius);
        shade.addColorStop(0, css(mix(color, [255, 255, 255], 0.45)));
        shade.addColorStop(0.55, css(color));
        shade.addColorStop(1, css(mix(color, [0, 0, 0], own ? 0.35 : 0.12)));
        g.fillStyle = shade;
      } else g.fillStyle = css(color);
      g.beginPath();
      g.arc(x, y, radius, 0, 2 * Math.PI);
      g.fill();
      if (atom === this.selected && own) {
        g.strokeStyle = ink;
        g.lineWidth = 2.5;
        g.beginPath();
        g.arc(x, y, radius + 3, 0, 2 * Math.PI);
        g.stroke();
      }
    }
    arrows(project, scale, ink) {
      const which = this.control("arrows").value, g = this.context;
      if (which === "none") return;
      const having = this.atoms.filter(atom => atom[which]);
      // Forces and predicted forces are drawn on one scale, so that they can be compared.
      const longest = Math.max(this.data.least / 1000, ...having.map(atom => which === "error" ? norm(atom.error) :
        Math.max(norm(atom.force), norm(atom.predicted))));
      const factor = 0.4 * this.reach / longest;
      g.strokeStyle = g.fillStyle = ink;
      g.lineWidth = 1.6;
      for (const atom of having) {
        const vector = atom[which];
        if (norm(vector) < 0.03 * longest) continue;
        const [x, y] = project(atom.place), [u, v] = project(atom.place.map((p, k) => p + factor * vector[k]));
        const length = Math.hypot(u - x, v - y), head = Math.min(7, 0.5 * length), angle = Math.atan2(v - y, u - x);
        g.beginPath();
        g.moveTo(x, y);
        g.lineTo(u - head * Math.cos(angle), v - head * Math.sin(angle));
        g.stroke();
        g.beginPath();
        g.moveTo(u, v);
        for (const side of [0.45, -0.45]) g.lineTo(u - head * Math.cos(angle + side), v - head * Math.sin(angle + side));
        g.fill();
      }
    }
  }
  document.querySelectorAll(".viewer").forEach(root => { new View(root); });
})();
