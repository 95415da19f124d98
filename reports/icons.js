// Stands in for @steeze-ui/simple-icons: Evidence's pages use these four of its 3,000 icons, and a settings page that only its
// development server has imports them all, which would be 4 MB for every reader.
export { Bluesky, Github, Slack, X } from './node_modules/@steeze-ui/simple-icons/dist/index.js';
