using Qcow2Bitmaps.Cli;

return await CommandLine.InvokeAsync(args);
