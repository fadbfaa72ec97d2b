using BenchmarkDotNet.Running;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.SideBySide;

if (args is ["fill", string image, string bitmap, string how])
{
    await BitmapImage.FillAsync(image, bitmap, how);
    return 0;
}

BenchmarkSwitcher.FromAssembly(typeof(ShortConfig).Assembly).Run(args, ShortConfig.Create());
return 0;
