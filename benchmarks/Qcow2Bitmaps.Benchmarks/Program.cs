using System.Globalization;
using BenchmarkDotNet.Running;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.Support;

if (args is ["fragmented-image", string path, string tebibytes])
{
    FragmentedImage.Write(path, long.Parse(tebibytes, CultureInfo.InvariantCulture) << 40);
    return 0;
}

BenchmarkSwitcher.FromAssembly(typeof(ShortConfig).Assembly).Run(args, ShortConfig.Create());
return 0;
