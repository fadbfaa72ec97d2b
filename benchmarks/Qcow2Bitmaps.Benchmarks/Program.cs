using System.Globalization;
using BenchmarkDotNet.Running;
using Qcow2Bitmaps.Benchmarks.Reporting;
using Qcow2Bitmaps.Benchmarks.SideBySide;

switch (args)
{
    case ["fill", string image, string bitmap, string how]:
        await BitmapImage.FillAsync(image, bitmap, how);
        return 0;
    case ["add-bitmaps", string image, string count]:
        await BitmapImage.AddAsync(image, int.Parse(count, CultureInfo.InvariantCulture));
        return 0;
    case ["grow-chain", string bottom, string images]:
        await DeepChain.GrowAsync(bottom, int.Parse(images, CultureInfo.InvariantCulture));
        return 0;
    case ["time-edit", string warmUp, string timed, string kind]:
        await TimedEdit.RunAsync(warmUp, timed, kind);
        return 0;
    case ["time-convert", string warmUp, string source, string target, string format]:
        await TimedConversion.RunAsync(warmUp, source, target, format);
        return 0;
    case ["time-chain", string kind, string top, string other]:
        await TimedChain.RunAsync(kind, top, other);
        return 0;
    case ["fragmented-image", string path, string tebibytes]:
        FragmentedImage.Write(path, (long)(double.Parse(tebibytes, CultureInfo.InvariantCulture) * (1L << 40)));
        return 0;
    default:
        BenchmarkSwitcher.FromAssembly(typeof(ShortConfig).Assembly).Run(args, ShortConfig.Create());
        return 0;
}
