declare module "react-test-renderer" {
  import type { ReactElement } from "react";
  interface Renderer {
    update(element: ReactElement): void;
    unmount(): void;
  }
  export function create(element: ReactElement): Renderer;
  export function act<T>(run: () => T | Promise<T>): Promise<T>;
}
