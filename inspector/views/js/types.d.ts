// What travels between files: headers as Python writes them (inspector/views/header_types.py; a test compares the names), and
// what the canvases keep. Types alone: no browser reads this file.

/** Two numbers: layer and head, row and column, or x and y. */
export type Pair = [number, number];
export type RGB = [number, number, number];
export type Scale = "linear" | "sqrt" | "log";

// ---- headers, written by Python ----------------------------------------------------------------------

/** One table of numbers: a head's map, vectors, any matrix. */
export interface MapHeader {
  rows: string[];
  columns: string[] | null;
  pool: Pair;
  bare: boolean;
  cell: "square" | "free";
  max_height: number;
  row_name: string;
  column_name: string;
  value_name: string;
  palette: "sequential" | "diverging";
  scale: Scale;
  limit: number;
  top: number | null;
  legend: string;
  masked: string;
  masked_reading: string;
  hint: string;
  label: string;
  selected: Pair | null;
  picks: boolean;
  threshold: number;
  strip: boolean;
  join: number | null;
  shape: Pair;
  packing: "lower" | "full";
  version: string;
}

/** Every head's small picture. */
export interface GridHeader {
  heads: number[];
  groups: number[];
  notes: string[];
  side: number;
  selected: Pair;
  scale: Scale;
  pictures: string;
  label: string;
  order: [number, number, string][] | null;
  ordered_by: string;
}

/** Numbers in line: panels of strips or bars over the same columns. */
export interface StripsHeader {
  test_id: string;
  axis: string[];
  axis_name: string;
  turned: boolean;
  names: string[];
  notes: string[] | null;
  partner: number[] | null;
  marked: number;
  picks: number[] | null;
  panels: StripsPanel[];
  series: string[];
  hint: string;
  label: string;
  count: number;
  version: string;
}

export interface StripsPanel {
  kind: "strip" | "bars";
  title: string;
  also: string;
  rows: number[];
  limit: number;
  scale: Scale | "";
  upward: boolean;
}

/** One measure of the heads: an order and, where it is a role, a chip. */
export interface ExploreMeasure {
  name: string;
  title: string;
  meaning: string;
  role: string;
  repeats: boolean;
  note: string;
  best: number;
  ascending: boolean;
  scores: (number | null)[];
}

/** All that the Explore screen shows of a prompt without asking the server again. */
export interface ExploreHeader {
  id: string;
  tokens: string[];
  join: number;
  heads: number[];
  groups: number[];
  notes: string[];
  side: number;
  pool: number;
  sampled: string;
  measures: ExploreMeasure[];
  next: [string, number][][];
  next_from: number;
  selected: Pair;
  map: MapHeader | null;
  legends: Record<Scale, string>;
  known: boolean[];
  pooled: boolean;
  words: number;
  counts_from: number;
  most_scaled: number;
  found: string[];
}

/** What is asked for of one head. */
export interface HeadAsked {
  layer: number;
  head: number;
  show: string;
  scale: string;
  sink: string;
  unit: string;
}

/** A question for one head's exact numbers, read by inspector/views/head_question.py. */
export interface HeadQuestion extends HeadAsked {
  version: number;
  id: string;
  turn: number;
}

/** One head's exact numbers, and what was asked for. */
export interface HeadAnswer {
  id: string;
  asked: HeadAsked;
  turn: number;
  map: MapHeader;
}

/** A page in a frame of its own. */
export interface FrameHeader {
  title: string;
  height: number;
  width: number;
}

/** What a saved page knows beside its numbers. */
export interface SavedPage {
  title: string;
  facts: Pair2<string>[];
  footer: string[];
  styles: Record<string, string>;
  selected: Pair;
  details: Details | null;
}

/** Every head's numbers in a saved page of all heads: one header, and packing, start and end by layer and head. */
export interface Details {
  header: MapHeader;
  numbers: ["lower" | "full", number, number][][];
}

export type Pair2<T> = [T, T];

/** What the softmax page opens with. */
export interface SoftmaxPage {
  numbers: number[];
  scale: number;
  added: number;
  examples: number[][];
  most: number;
  largest: number;
}

/** Numbers as a table: what stands above it and its columns; row: the texts of one row, its name first. */
export interface Numbers {
  caption: string;
  names: string[];
  count: number;
  row: (at: number) => string[];
}

// ---- what the canvases keep ----------------------------------------------------------------------------

/** Where a canvas stands: an element, or the shadow root that a host gives it. */
export type Root = ShadowRoot | HTMLElement;

/** What a host tells a canvas beside its data; all of it may be left out. */
export interface Host<Picked> {
  onPick?: (picked: Picked) => void;
  selected?: Pair;
}

/** What a host tells a map beside its numbers. */
export interface MapHost extends Host<Pair> {
  onPoint?: (cell: Pair | null) => void;
  row?: number | null;
  height?: number;
}

/** What is chosen on the screens that explore a prompt; the server has the same (inspector/ui/state.py). */
export interface Chosen {
  layer: number;
  head: number;
  query: number;
  key: number;
  order: string;
  sink: string;
  show: string;
  scale: string;
  unit: string;
  edits?: string;
  token?: string;
  against?: string;
  shown?: string;
}

/** What a browser tab remembers. shown: the prompt's message in which layer, head and tokens were chosen. */
export interface Remembered {
  request?: Record<string, unknown>;
  selection?: Partial<Chosen>;
  shown?: string;
}

/** A prompt's message, its parts apart. first: the place of each layer's first head among all `count` heads. */
export interface Prompt {
  header: ExploreHeader;
  first: number[];
  count: number;
  small: [Uint8Array, Uint8Array];
  halves: Uint16Array | null;
}

export interface HeadNumbers {
  header: MapHeader;
  numbers: Float32Array;
}

export interface Theme {
  dark: boolean;
  text: string;
  background: string;
  accent: string;
  border: string;
  font: string;
  sequential: string[];
  diverging: string[];
  masked: string;
}

/** What every canvas keeps from one message to the next. */
export interface CanvasState {
  host: HTMLElement;
  canvas: HTMLCanvasElement;
  tip: HTMLElement;
  readout: HTMLElement;
  width: number;
  theme: Theme;
  observer: ResizeObserver;
}

export interface GridLayout {
  size: number;
  gap: number;
  left: number;
  top: number;
  split: number;
  columns: number;
  bandHeight: number;
  width: number;
  height: number;
  shared: boolean;
  alike: boolean;
  rank: Map<string, number>;
}

export interface GridState extends CanvasState {
  header: GridHeader;
  body: Uint8Array;
  layout: GridLayout;
  look: string;
  atlas: HTMLCanvasElement;
  selected: Pair;
  cursor: Pair | null;
  hasFocus: boolean;
  onPick: (picked: Pair) => void;
}

/** In CSS pixels. rank: of every head among those in order. */
export interface ExploreLayout {
  ordered: boolean;
  columns: number;
  size: number;
  cell: number;
  step: number;
  rank: Map<number, number>;
  width: number;
  height: number;
  blocks: number;
  rows: number;
  gap: number;
  block: number;
}

/** What a visitor does on the Explore screen; parts that paint call these. */
export interface ExploreActs {
  choose: (changes: Partial<Chosen>) => void;
  chooseOrder: (measure: ExploreMeasure | null) => void;
  point: (token: number | null) => void;
  hideBelow: (share: number) => void;
}

/** What anywidget gives a view of its model. */
export interface WidgetModel {
  get(name: string): unknown;
  send(content: unknown): void;
  on(name: string, heard: (message: { view?: string; refused?: string }, buffers: DataView[]) => void): void;
  off(name: string, heard: (message: { view?: string; refused?: string }, buffers: DataView[]) => void): void;
}

/** Who answers the Explore screen's questions and remembers what is chosen there. height: CSS pixels; else the window's. */
export interface ExploreHost {
  hub: import("./hub.js").Hub;
  remember: (changes: Partial<Remembered>) => void;
  remembered: () => Remembered;
  narrow: (place: HTMLElement) => boolean;
  alone: boolean; // nobody answers
  height?: number;
}

export interface ExploreState {
  host: ExploreHost;
  acts: ExploreActs;
  place: HTMLElement;
  grid: HTMLCanvasElement;
  chips: HTMLElement;
  meanings: HTMLElement;
  room: HTMLElement;
  gridReading: HTMLElement;
  gridNote: HTMLElement;
  title: HTMLElement;
  shares: HTMLElement;
  mapRoot: HTMLElement;
  facts: HTMLElement;
  strip: HTMLElement;
  reading: HTMLElement;
  next: HTMLElement;
  nextTitle: HTMLElement;
  table: HTMLElement;
  order: HTMLSelectElement;
  hide: HTMLInputElement;
  options: HTMLElement;
  observer: ResizeObserver;
  above: number;
  theme: Theme;
  data: Uint8Array;
  prompt: Prompt;
  layout: ExploreLayout;
  atlas: HTMLCanvasElement;
  atlases: (HTMLCanvasElement | null)[];
  measure: ExploreMeasure | null;
  ranking: number[] | null;
  selected: Pair;
  peeked: Pair | null;
  shown: Pair;
  query: number;
  pointed: number | null;
  key: number;
  sink: string;
  look: { show: string; scale: string; unit: string };
  least: number;
  exact: Map<string, HeadNumbers>;
  waiting: string;
  tries: number;
  telling: number;
  picked: boolean;
  receive: (answer: HeadAnswer, numbers: HeadNumbers) => void;
  tokens: Map<number, HTMLButtonElement>;
  soon: number;
  frame: number;
}

/** In device pixels where the name begins with plot or cell, else in CSS pixels. */
export interface MapLayout {
  dpr: number;
  width: number;
  height: number;
  slanted: boolean;
  left: number;
  top: number;
  x0: number;
  y0: number;
  room: number;
  poolX: number;
  poolY: number;
  plotX: number;
  plotY: number;
  cellX: number;
  cellY: number;
  stepX: number;
  stepY: number;
}

export interface MapState extends CanvasState {
  header: MapHeader;
  numbers: Float32Array;
  layout: MapLayout;
  painted?: { numbers: Float32Array; looks: string }; // of what the cells on `base` are
  base: HTMLCanvasElement;
  legend: HTMLElement;
  strip: HTMLElement;
  token: number | null;
  active: Pair | null;
  locked: Pair | null;
  row: number | null;
  room: number;
  onPick: (picked: Pair) => void;
  onPoint: (cell: Pair | null) => void;
}

export interface StripsLayout {
  dpr: number;
  width: number;
  height: number;
  left: number;
  step: number;
  places: { top: number; high: number }[];
  axisTop: number;
}

export interface StripsState extends CanvasState {
  header: StripsHeader;
  numbers: Float32Array;
  layout: StripsLayout;
  base: HTMLCanvasElement;
  active: number;
  locked: number;
  onPick: (picked: number) => void;
}

/** What Streamlit gives a component (st.components.v2). */
export interface StreamlitComponent<Data = Uint8Array> {
  parentElement: ShadowRoot;
  data: Data;
  setTriggerValue(name: string, value: unknown): void;
  setStateValue(name: string, value: unknown): void;
}

/** The Walkthrough's rail: the steps' titles, and where one stands. */
export interface RailData {
  titles: string[];
  at: number;
}

/** One plane of RoPE: degrees it turns a token, and the two numbers of query and key before that. */
export interface Plane {
  plane: number;
  speed: number;
  query: [number, number];
  key: [number, number];
}

/** RoPE's clock: the planes of a pair, what other dimensions add to its score, where and what its two tokens are. */
export interface ClockData {
  planes: Plane[];
  rest: number;
  factor: number;
  query: number;
  key: number;
  names: [string, string];
  most: number;
}

/** One row of scores to scale: from undivided to divided by `most`, at `divisor` to begin with. */
export interface ScaleData {
  scores: number[];
  labels: string[];
  marks: { name: string; divisor: number }[];
  divisor: number;
  most: number;
}
